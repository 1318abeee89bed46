from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.flash_arbitrage.concentrated import (
    amount0_delta,
    amount1_delta,
    ceil_div,
    input_to,
    next_price_from_input,
    next_price_from_output,
    swap_step,
)
from strategies.flash_arbitrage.ticks import MAX_SQRT_RATIO, MIN_SQRT_RATIO
from tests.unit.strategies.flash_arbitrage.reference import v3_out

PRICES = st.integers(MIN_SQRT_RATIO, MAX_SQRT_RATIO - 1)
LIQUIDITY = st.integers(1, 2**128 - 1)
AMOUNTS = st.integers(1, 2**128)
FEES = st.sampled_from((0, 100, 500, 3000, 10_000))
DIRECTIONS = st.booleans()
Q96 = 2**96


@given(PRICES, PRICES, LIQUIDITY)
def test_deltas_are_the_whitepapers_rounded_twice_for_token_0_and_once_for_token_1(
    a: int, b: int, liquidity: int
) -> None:
    low, high = sorted((a, b))
    numerator = liquidity * Q96 * (high - low)
    assert amount0_delta(a, b, liquidity, round_up=False) == floor(Fraction(floor(Fraction(numerator, high)), low))
    assert amount0_delta(a, b, liquidity, round_up=True) == ceil(Fraction(ceil(Fraction(numerator, high)), low))
    real = Fraction(liquidity * (high - low), Q96)
    assert amount1_delta(a, b, liquidity, round_up=False) == floor(real)
    assert amount1_delta(a, b, liquidity, round_up=True) == ceil(real)


@given(PRICES, LIQUIDITY, AMOUNTS, DIRECTIONS)
def test_an_input_moves_the_price_no_further_than_it_pays_for(
    price: int, liquidity: int, amount: int, zero_for_one: bool
) -> None:
    after = next_price_from_input(price, liquidity, amount, zero_for_one=zero_for_one)
    if zero_for_one:
        assert after <= price
        assert amount0_delta(after, price, liquidity, round_up=True) <= amount
    else:
        assert after >= price
        assert amount1_delta(after, price, liquidity, round_up=True) <= amount


def test_beyond_256_bits_token_0_is_priced_with_less_precision() -> None:
    # 2**98 · 2**159 does not fit a word: the chain then rounds L·2**96 / P down before it adds the amount.
    price, liquidity, amount = 2**159 + 12345, 2**128 - 1, 2**98 + 1
    numerator = liquidity * Q96
    coarse = ceil(Fraction(numerator, numerator // price + amount))
    assert coarse != ceil(Fraction(numerator * price, numerator + amount * price))
    assert next_price_from_input(price, liquidity, amount, zero_for_one=True) == coarse


@given(PRICES, LIQUIDITY, AMOUNTS, DIRECTIONS)
def test_an_output_moves_the_price_at_least_as_far_as_it_needs(
    price: int, liquidity: int, amount: int, zero_for_one: bool
) -> None:
    try:
        after = next_price_from_output(price, liquidity, amount, zero_for_one=zero_for_one)
    except ValueError:
        in_pool = liquidity * price // Q96 if zero_for_one else liquidity * Q96 // price
        assert amount >= in_pool or amount * price >= 2**256
        return
    delta = amount1_delta if zero_for_one else amount0_delta
    assert delta(after, price, liquidity, round_up=False) >= amount


@given(PRICES, PRICES, LIQUIDITY, AMOUNTS, FEES)
def test_a_step_never_takes_more_nor_goes_beyond_and_pays_what_the_reference_pays(
    price: int, target: int, liquidity: int, amount: int, fee_pips: int
) -> None:
    step = swap_step(price, target, liquidity, amount, fee_pips)
    assert step.amount_in + step.fee_amount <= amount
    assert min(price, target) <= step.sqrt_price <= max(price, target)
    if step.sqrt_price != target:
        assert step.amount_in + step.fee_amount == amount
    if price != target and step.amount_in + step.fee_amount == amount and amount * price < 2**256 - 2**225:
        assert step.amount_out == v3_out(amount, price, liquidity, fee_pips, int(price < target), target)


@given(PRICES, PRICES, LIQUIDITY, AMOUNTS, FEES)
def test_an_exact_output_is_never_exceeded_and_buying_it_back_exactly_suffices(
    price: int, target: int, liquidity: int, amount: int, fee_pips: int
) -> None:
    try:
        step = swap_step(price, target, liquidity, amount, fee_pips, exact_input=False)
    except ValueError:
        return
    assert step.amount_out <= amount
    assert step.amount_out == amount or step.sqrt_price == target
    paid = step.amount_in + step.fee_amount
    assert swap_step(price, target, liquidity, paid, fee_pips).amount_out >= step.amount_out


@given(PRICES, PRICES, LIQUIDITY, FEES)
def test_the_input_to_a_target_is_the_smallest_that_reaches_it_and_is_spent_whole(
    price: int, target: int, liquidity: int, fee_pips: int
) -> None:
    amount = input_to(price, target, liquidity, fee_pips, zero_for_one=price >= target)
    step = swap_step(price, target, liquidity, amount, fee_pips)
    assert step.sqrt_price == target
    assert step.amount_in + step.fee_amount == amount
    if amount > 1:
        # Rounding may bring the price there by accident, but SwapMath has not decided on the target then.
        less = (amount - 1) * (1_000_000 - fee_pips) // 1_000_000
        assert less < step.amount_in


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_liquidity_cannot_pay_what_it_does_not_hold(zero_for_one: bool) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        next_price_from_output(Q96, 1000, 1000, zero_for_one=zero_for_one)


def test_ceil_div_rounds_up_only_what_has_a_rest() -> None:
    assert (ceil_div(6, 3), ceil_div(7, 3), ceil_div(0, 3)) == (2, 3, 0)
