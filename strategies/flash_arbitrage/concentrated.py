"""Uniswap v3: one swap at constant liquidity, with the roundings of v3-core.

Theory of operation
-------------------
At liquidity ``L`` and square root price ``P`` (as ``P·2**96``) a pool behaves like a constant product
pool with the virtual reserves ``L/P`` of token 0 and ``L·P`` of token 1 (v3 whitepaper, 6.2.1). A swap moves ``P``;
what is paid and received are differences of those reserves. The chain rounds every step against the
trader: the price moves a little less than the input pays for, the input is rounded up, the output down.

The functions carry the names and the arithmetic of v3-core's libraries, so that they can be compared
line by line: SqrtPriceMath (``next_price_from_amount0`` … ``amount1_delta``) and SwapMath
(:func:`swap_step`). Solidity's overflow checks appear where they decide which formula is used.

Everything is a whole number: prices Q64.96, liquidity in its own unit, amounts in smallest units.
"""

from __future__ import annotations

from typing import NamedTuple

from strategies.flash_arbitrage.constant_product import PIPS

Q96 = 2**96
_WORD = 2**256


class SwapStep(NamedTuple):
    """What one step of a swap does. ``amount_in`` is without ``fee_amount``; the trader pays both."""

    sqrt_price: int
    amount_in: int
    amount_out: int
    fee_amount: int


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient of two natural numbers, rounded up (FullMath.mulDivRoundingUp after its product)."""
    return -(-numerator // denominator)


def amount0_delta(sqrt_a: int, sqrt_b: int, liquidity: int, *, round_up: bool) -> int:
    """Token 0 between two prices: ``L·2**96·|b - a| / (a·b)`` (SqrtPriceMath.getAmount0Delta).

    Args:
        sqrt_a: one price, above 0.
        sqrt_b: the other, in any order.
        liquidity: between them.
        round_up: each of the two divisions up rather than down.
    """
    if sqrt_a > sqrt_b:
        sqrt_a, sqrt_b = sqrt_b, sqrt_a
    numerator = (liquidity << 96) * (sqrt_b - sqrt_a)
    # Two divisions, not one by the product: that is how the chain rounds.
    if round_up:
        return -(-numerator // sqrt_b // sqrt_a)
    return numerator // sqrt_b // sqrt_a


def amount1_delta(sqrt_a: int, sqrt_b: int, liquidity: int, *, round_up: bool) -> int:
    """Token 1 between two prices: ``L·|b - a| / 2**96`` (SqrtPriceMath.getAmount1Delta)."""
    product = liquidity * abs(sqrt_b - sqrt_a)
    return -(-product >> 96) if round_up else product >> 96


def next_price_from_input(sqrt_price: int, liquidity: int, amount: int, *, zero_for_one: bool) -> int:
    """The price after ``amount`` (fee deducted) was paid in (SqrtPriceMath.getNextSqrtPriceFromInput).

    Rounded so that the price moves less than the amount pays for.

    Args:
        sqrt_price: before, above 0.
        liquidity: above 0.
        amount: of token 0 if ``zero_for_one``, else of token 1; smallest units.
        zero_for_one: whether token 0 is sold to the pool.
    """
    if not zero_for_one:
        return sqrt_price + (amount << 96) // liquidity
    if amount == 0:
        return sqrt_price
    numerator = liquidity << 96
    product = amount * sqrt_price
    if numerator + product < _WORD:
        return -(-numerator * sqrt_price // (numerator + product))
    # Beyond 256 bits the chain computes the same quotient with less precision.
    return ceil_div(numerator, numerator // sqrt_price + amount)


def next_price_from_output(sqrt_price: int, liquidity: int, amount: int, *, zero_for_one: bool) -> int:
    """The price after ``amount`` was paid out (SqrtPriceMath.getNextSqrtPriceFromOutput).

    Rounded so that the price moves at least as far as the amount needs.

    Args:
        sqrt_price: before, above 0.
        liquidity: above 0.
        amount: of token 1 if ``zero_for_one``, else of token 0; smallest units.
        zero_for_one: whether token 0 is sold to the pool.

    Raises:
        ValueError: the liquidity does not hold that much. The chain reverts then.
    """
    if zero_for_one:
        quotient = ceil_div(amount << 96, liquidity)
        if sqrt_price <= quotient:
            raise ValueError(f"liquidity {liquidity} does not hold {amount} of token 1 at price {sqrt_price}")
        return sqrt_price - quotient
    numerator = liquidity << 96
    product = amount * sqrt_price
    if product >= _WORD or numerator <= product:
        raise ValueError(f"liquidity {liquidity} does not hold {amount} of token 0 at price {sqrt_price}")
    return ceil_div(numerator * sqrt_price, numerator - product)


def input_to(sqrt_price: int, target: int, liquidity: int, fee_pips: int, *, zero_for_one: bool) -> int:
    """The smallest exact input, fee included, that brings the price to ``target``.

    SwapMath takes the target when ``floor(amount·(10⁶ - fee) / 10⁶)`` reaches the input without fee;
    the smallest such amount is that input divided by ``(10⁶ - fee)/10⁶``, rounded up, which is
    also what SwapMath then charges. So this amount is spent whole, and one unit more would go on beyond.

    Args:
        sqrt_price: before.
        target: at or beyond it in the swap's direction.
        liquidity: constant between them.
        fee_pips: the pool's fee in millionths.
        zero_for_one: whether token 0 is sold to the pool.
    """
    delta = amount0_delta if zero_for_one else amount1_delta
    return ceil_div(delta(target, sqrt_price, liquidity, round_up=True) * PIPS, PIPS - fee_pips)


def swap_step(
    sqrt_price: int, target: int, liquidity: int, amount: int, fee_pips: int, *, exact_input: bool = True
) -> SwapStep:
    """Swap until ``amount`` is used up or the price is at ``target`` (SwapMath.computeSwapStep).

    Args:
        sqrt_price: before. The direction follows from it and the target, as on the chain.
        target: the price not to go beyond.
        liquidity: constant between them.
        amount: at most this much in, fee included, or out; smallest units.
        fee_pips: the pool's fee in millionths.
        exact_input: whether ``amount`` is paid (True) or wanted (False).

    Raises:
        ValueError: the liquidity does not hold the wanted amount.
    """
    zero_for_one = sqrt_price >= target
    delta_in, delta_out = (amount0_delta, amount1_delta) if zero_for_one else (amount1_delta, amount0_delta)
    if exact_input:
        after_fee = amount * (PIPS - fee_pips) // PIPS
        reached = after_fee >= delta_in(target, sqrt_price, liquidity, round_up=True)
        step = next_price_from_input
    else:
        after_fee = amount
        reached = after_fee >= delta_out(target, sqrt_price, liquidity, round_up=False)
        step = next_price_from_output
    price = target if reached else step(sqrt_price, liquidity, after_fee, zero_for_one=zero_for_one)
    spent = delta_in(price, sqrt_price, liquidity, round_up=True)
    bought = delta_out(price, sqrt_price, liquidity, round_up=False)
    if not exact_input:
        bought = min(bought, amount)
    # What is left of an exact input that did not reach the target is all taken as fee.
    fee = amount - spent if exact_input and price != target else ceil_div(spent * fee_pips, PIPS - fee_pips)
    return SwapStep(price, spent, bought, fee)
