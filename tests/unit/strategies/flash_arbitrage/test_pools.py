from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.market import PoolMetadata, PoolSync
from contracts.values import U256
from strategies.flash_arbitrage.concentrated import swap_step
from strategies.flash_arbitrage.constant_product import MAX_RESERVE, amount_out, smallest_amount_in
from strategies.flash_arbitrage.pool import ImpossibleStateError, Pool
from strategies.flash_arbitrage.pools import MAX_LIQUIDITY, ConcentratedPool, make_pool
from strategies.flash_arbitrage.ticks import MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, sqrt_ratio_at_tick
from tests.unit.strategies.flash_arbitrage.markets import Market, markets
from tests.unit.strategies.flash_arbitrage.reference import pool_out, token, v2_pool, v2_state, v3_pool, v3_state

ONE, TWO = token(1), token(2)
V2 = v2_pool(0, ONE, TWO)
V3 = v3_pool(1, ONE, TWO)
Q96 = 2**96


def pool_in(pool: PoolMetadata, state: PoolSync) -> Pool:
    made = make_pool(pool)
    made.update(state)
    return made


@given(markets(), st.data())
def test_quotes_are_exact_and_never_better_than_the_rates(market: Market, data: st.DataObject) -> None:
    for (pool, sold), (metadata, state, _) in zip(market.legs, market.reference, strict=True):
        largest = pool.largest_in(sold)
        assert pool.amount_out(sold, largest + 1) == 0
        amount = data.draw(st.integers(1, max(1, min(largest, 2**100))))
        paid = pool.amount_out(sold, amount)
        assert paid == (0 if amount > largest else pool_out(metadata, state, sold, amount))
        rate, slope = ((pool.rate0, pool.slope0), (pool.rate1, pool.slope1))[sold]
        assert paid <= rate * amount / (1 + slope * amount) * (1 + 1e-12)
        a, b, c = pool.coefficients(sold)
        assert paid * (b + c * amount) <= a * amount


@given(markets(), st.data())
def test_an_input_for_an_output_suffices_and_is_hardly_more_than_needed(market: Market, data: st.DataObject) -> None:
    for pool, sold in market.legs:
        most = pool.amount_out(sold, min(pool.largest_in(sold), 2**110))
        if most == 0:
            continue
        wanted = data.draw(st.integers(1, most))
        amount = pool.amount_in(sold, wanted)
        assert amount is not None
        assert pool.amount_out(sold, amount) >= wanted
        # v3 rounds the price, the amount and the fee apart; each is worth a unit at most here.
        spare = 3 if isinstance(pool, ConcentratedPool) else 1
        assert amount <= spare or pool.amount_out(sold, amount - spare) < wanted


@given(markets())
def test_no_pool_promises_more_than_it_has(market: Market) -> None:
    for pool, sold in market.legs:
        assert pool.amount_in(sold, pool.depth(1 - sold) + 1) is None


@given(st.integers(1, MAX_RESERVE), st.integers(2, MAX_RESERVE), st.integers(1, 2**112), st.integers(0, 1))
def test_a_v2_pool_quotes_what_the_formulas_say(reserve0: int, reserve1: int, amount: int, sold: int) -> None:
    pool = pool_in(V2, v2_state(V2, reserve0, reserve1))
    reserves = (reserve0, reserve1)
    fits = reserves[sold] + amount <= MAX_RESERVE
    expected = amount_out(amount, reserves[sold], reserves[1 - sold], 3000) if fits else 0
    assert pool.amount_out(sold, amount) == expected
    if amount < reserves[1 - sold]:
        assert pool.amount_in(sold, amount) == smallest_amount_in(amount, reserves[sold], reserves[1 - sold], 3000)


@pytest.mark.parametrize("sold", [0, 1])
def test_a_v3_pool_quotes_to_the_very_end_of_its_range_and_no_further(sold: int) -> None:
    pool = pool_in(V3, v3_state(V3, Q96 + 10**20, 10**20, 0))
    assert isinstance(pool, ConcentratedPool)
    end = (sqrt_ratio_at_tick(0), sqrt_ratio_at_tick(10))[sold]
    largest = pool.largest_in(sold)
    step = swap_step(pool.sqrt_price, end, 10**20, largest, 500)
    assert step.sqrt_price == end
    assert step.amount_in + step.fee_amount == largest
    assert pool.amount_out(sold, largest) == step.amount_out > 0
    assert pool.amount_out(sold, largest + 1) == 0


def test_a_price_at_the_upper_end_leaves_nothing_to_buy_upwards() -> None:
    # A swap that falls exactly to a multiple of the spacing leaves the tick below it: tick -1 at the price of tick 0.
    pool = pool_in(V3, v3_state(V3, Q96, 10**20, -1))
    assert pool.largest_in(1) == 0
    assert pool.amount_out(1, 1) == 0
    assert pool.amount_in(1, 1) is None
    assert pool.largest_in(0) > 0


@pytest.mark.parametrize(
    ("pool", "state", "cause"),
    [
        (V2, v2_state(V2, 0, 5), "reserve_not_positive"),
        (V2, v2_state(V2, 5, 0), "reserve_not_positive"),
        (V2, v2_state(V2, 5, MAX_RESERVE + 1), "reserve_beyond_uint112"),
        (V3, v3_state(V3, MIN_SQRT_RATIO - 1, 1, 0), "price_out_of_range"),
        (V3, v3_state(V3, MAX_SQRT_RATIO, 1, MAX_TICK), "price_out_of_range"),
        (V3, v3_state(V3, Q96, 1, MAX_TICK + 1), "price_out_of_range"),
        (V3, v3_state(V3, Q96, MAX_LIQUIDITY + 1, 0), "liquidity_beyond_uint128"),
        (V3, v3_state(V3, Q96, 1, 10), "price_not_at_tick"),
        (V3, v3_state(V3, Q96, 1, -11), "price_not_at_tick"),
    ],
)
def test_an_impossible_state_is_refused_and_takes_the_pool_out_of_use(
    pool: PoolMetadata, state: PoolSync, cause: str
) -> None:
    good = v2_state(pool, 5, 5) if pool is V2 else v3_state(pool, Q96 + 1, 10**9, 0)
    made = pool_in(pool, good)
    assert min(made.rate0, made.rate1) > 0
    with pytest.raises(ImpossibleStateError) as caught:
        made.update(state)
    assert caught.value.cause == cause
    assert caught.value.detail in str(caught.value)
    assert not made.usable
    assert (made.rate0, made.rate1) == (0.0, 0.0)
    made.update(good)
    assert made.usable


def test_a_negative_reserve_is_refused_even_if_somebody_smuggles_it_in() -> None:
    state = PoolSync("v", "i", V2.pool, 1, 0, 0, -5, 5, U256(0), U256(0), 0)  # type: ignore[arg-type]
    with pytest.raises(ImpossibleStateError, match="-5"):
        make_pool(V2).update(state)


def test_a_v3_pool_without_liquidity_is_possible_but_out_of_use_until_the_next_state() -> None:
    pool = pool_in(V3, v3_state(V3, Q96, 0, 0))
    assert not pool.usable
    pool.update(v3_state(V3, Q96, 10**9, 0, block=2))
    assert pool.usable


def test_the_range_follows_the_tick() -> None:
    pool = pool_in(V3, v3_state(V3, Q96, 10**20, 0))
    inside = pool.largest_in(0), pool.largest_in(1)
    pool.update(v3_state(V3, sqrt_ratio_at_tick(15), 10**20, 15))
    assert isinstance(pool, ConcentratedPool)
    assert (pool.lower, pool.upper) == (sqrt_ratio_at_tick(10), sqrt_ratio_at_tick(20))
    assert (pool.largest_in(0), pool.largest_in(1)) != inside


@pytest.mark.parametrize(
    ("held", "wanted", "new_enough"),
    [((5, 3), (5, 3), True), ((5, 3), (5, 4), False), ((6, 0), (5, 9), True), ((4, 9), (5, 0), False)],
)
def test_positions_on_the_chain_are_compared_by_block_and_then_log(
    held: tuple[int, int], wanted: tuple[int, int], *, new_enough: bool
) -> None:
    pool = pool_in(V2, v2_state(V2, 5, 5, *held))
    assert pool.is_at_least(*wanted) is new_enough


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        (v2_pool(0, TWO, ONE), "tokens_not_sorted"),
        (v2_pool(0, ONE, ONE), "tokens_not_sorted"),
        (v2_pool(0, ONE, TWO, 1_000_000), "fee_out_of_range"),
        (v2_pool(0, ONE, TWO, -1), "fee_out_of_range"),
        (v3_pool(0, ONE, TWO, 500, 0), "tick_spacing_not_positive"),
    ],
)
def test_an_impossible_pool_is_refused(metadata: PoolMetadata, cause: str) -> None:
    with pytest.raises(ImpossibleStateError) as caught:
        make_pool(metadata)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("fee_pips", "amount", "even"),
    [(500, 4_999, (4_000, 6_000)), (3000, 1_100, (1_000, 1_333, 1_000, 2_000)), (0, 77, ())],
)
def test_even_inputs_of_a_v3_pool_lose_no_whole_fee(fee_pips: int, amount: int, even: tuple[int, ...]) -> None:
    assert make_pool(v3_pool(0, ONE, TWO, fee_pips)).even_inputs(amount) == even
    assert make_pool(V2).even_inputs(amount) == ()
