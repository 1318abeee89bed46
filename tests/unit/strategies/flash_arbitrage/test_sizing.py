from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from contracts.market import PoolMetadata, PoolSync, Protocol
from strategies.flash_arbitrage.pools import make_pool
from strategies.flash_arbitrage.sizing import Sizing, backward, best_input, flash_premium, forward
from strategies.flash_arbitrage.ticks import range_around
from tests.unit.strategies.flash_arbitrage.markets import Market, markets
from tests.unit.strategies.flash_arbitrage.reference import (
    chain_out,
    pool_out,
    token,
    v2_pool,
    v2_state,
    v3_pool,
    v3_state,
)

PREMIUMS = st.sampled_from((0, 5, 9, 30))
V2 = (Protocol.UNISWAP_V2,)


def profit_of(market: Market, amount: int, premium_bps: int) -> int:
    return chain_out(market.reference, amount) - amount - ceil(Fraction(amount * premium_bps, 10_000))


def largest_input(pool: PoolMetadata, state: PoolSync, sold: int) -> Fraction:
    """A v3 range's end, from the v3 whitepaper (6.14, 6.16), in real numbers; v2 has none that matters here."""
    if pool.protocol is Protocol.UNISWAP_V2:
        return Fraction(2**112)
    lower, upper = range_around(state.tick, pool.tick_spacing)
    liquidity, price = int(state.liquidity), int(state.sqrt_price_x96)
    if sold == 0:
        amount = Fraction(liquidity * 2**96 * (price - lower), price * lower)
    else:
        amount = Fraction(liquidity * (upper - price), 2**96)
    return amount / Fraction(1_000_000 - pool.fee_pips, 1_000_000)


def curve(pool: PoolMetadata, state: PoolSync, sold: int) -> tuple[Fraction, Fraction]:
    """Marginal rate and capacity (input that halves it) of a pool, in real numbers."""
    kept = Fraction(1_000_000 - pool.fee_pips, 1_000_000)
    if pool.protocol is Protocol.UNISWAP_V2:
        reserves = [Fraction(int(state.reserve0)), Fraction(int(state.reserve1))]
    else:
        price = Fraction(int(state.sqrt_price_x96), 2**96)
        reserves = [int(state.liquidity) / price, int(state.liquidity) * price]
    return kept * reserves[1 - sold] / reserves[sold], reserves[sold] / kept


def real_out(market: Market, amount: Fraction) -> list[Fraction]:
    """The amounts on the way, without any rounding."""
    amounts = [amount]
    for leg in market.reference:
        rate, capacity = curve(*leg)
        amount = rate * amount / (1 + amount / capacity)
        amounts.append(amount)
    return amounts


def slope_at(market: Market, amount: Fraction) -> Fraction:
    """What the next unit that is put in brings, in real numbers."""
    slope = Fraction(1)
    for arriving, leg in zip(real_out(market, amount), market.reference, strict=False):
        rate, capacity = curve(*leg)
        slope *= rate / (1 + arriving / capacity) ** 2
    return slope


def real_input(market: Market, place: int, amount: int) -> Fraction | None:
    """The real input that arrives at a place in the cycle as this amount."""
    wanted = Fraction(amount)
    for leg in reversed(market.reference[:place]):
        rate, capacity = curve(*leg)
        if wanted >= rate * capacity:
            return None
        wanted = wanted / (rate - wanted / capacity)
    return wanted


def upper_bound(market: Market, premium_bps: int) -> tuple[Fraction, Fraction]:
    """The best real input which all ranges can take, and a profit that no whole amounts exceed within the ranges.

    Wherever one looks in the cycle, the amount there is a whole number. As a function of it the real profit is
    concave: it is best beside the real optimum, and whole amounts elsewhere, and rounding, only make it less.
    """
    owed = 1 + Fraction(premium_bps, 10_000)

    def fits(amount: Fraction) -> bool:
        on_the_way = zip(real_out(market, amount), market.reference, strict=False)
        return all(arriving <= largest_input(*leg) for arriving, leg in on_the_way)

    step = Fraction(1, 2**16)
    low, high = 0, 2**140
    while high - low > 1:
        middle = (low + high) // 2
        too_little = fits(middle * step) and slope_at(market, middle * step) > owed
        low, high = (middle, high) if too_little else (low, middle)
    optimum = low * step
    bounds = []
    for place, amount in enumerate(real_out(market, optimum)[:-1]):
        inputs = (real_input(market, place, floor(amount) + beside) for beside in (0, 1))
        profits = [real_out(market, x)[-1] - owed * x for x in inputs if x is not None and fits(x)]
        bounds.append(max(profits, default=Fraction(0)))
    return optimum, min(bounds)


def unit_worths(market: Market, amount: Fraction) -> list[Fraction]:
    """What one unit of each leg's input costs or sells for in the start token, whichever is more, at such a trade."""
    margin = max(Fraction(1), slope_at(market, amount))
    worth, worths = Fraction(1), []
    for arriving, leg in zip(real_out(market, amount), market.reference, strict=False):
        worths.append(worth * margin)
        rate, capacity = curve(*leg)
        worth /= rate / (1 + arriving / capacity) ** 2
    return worths


def check_exact(market: Market, sizing: Sizing, premium_bps: int) -> None:
    amount = sizing.amounts[0]
    for leg, arriving, leaving in zip(market.reference, sizing.amounts, sizing.amounts[1:], strict=False):
        assert pool_out(*leg, arriving) == leaving
    assert sizing.premium == ceil(Fraction(amount * premium_bps, 10_000))
    assert sizing.profit == sizing.amounts[-1] - amount - sizing.premium > 0


@given(markets(sizes=(2,), protocols=V2), PREMIUMS)
def test_a_cycle_of_two_constant_product_pools_is_within_5_units_of_the_real_optimum(
    market: Market, premium_bps: int
) -> None:
    _, bound = upper_bound(market, premium_bps)
    sizing = best_input(market.legs, premium_bps)
    event("profit" if sizing else "no profit")
    if sizing is None:
        assert bound <= 5
        return
    check_exact(market, sizing, premium_bps)
    assert sizing.profit >= bound - 5


@given(markets(), PREMIUMS)
def test_amounts_are_exact_and_the_profit_is_within_the_stated_bound(market: Market, premium_bps: int) -> None:
    optimum, bound = upper_bound(market, premium_bps)
    sizing = best_input(market.legs, premium_bps)
    worths = sorted(unit_worths(market, optimum))
    inner = sorted(unit_worths(market, optimum)[1:])
    v3 = any(pool.protocol is Protocol.UNISWAP_V3 for pool in market.pools)
    allowed = Fraction(5 if len(worths) == 2 or not v3 else 7)
    if len(inner) == 2 and inner[0] > 1:
        allowed += inner[0] * (2 if v3 else 1)
    if v3:  # a v3 pool at the anchor: at most a unit of its token
        allowed += max(worths) if max(worths) > 1 else 0
    event(f"{len(worths)} pools, {'profit' if sizing else 'no profit'}")
    if sizing is None:
        assert bound <= allowed
        return
    check_exact(market, sizing, premium_bps)
    assert sizing.profit >= bound - allowed


@given(markets(protocols=V2, small=True), PREMIUMS)
def test_no_input_to_a_small_cycle_is_better_by_more_than_5_units(market: Market, premium_bps: int) -> None:
    sizing = best_input(market.legs, premium_bps)
    found = sizing.profit if sizing else 0
    event("profit" if sizing else "no profit")
    assert max(profit_of(market, amount, premium_bps) for amount in range(1, 1500)) <= found + 5


@given(markets(sizes=(2,), small=False, gap=0.05), PREMIUMS)
@settings(max_examples=25, deadline=None)
def test_no_amount_near_the_optimum_of_two_pools_is_better_by_more_than_5_units(
    market: Market, premium_bps: int
) -> None:
    sizing = best_input(market.legs, premium_bps)
    assume(sizing is not None)
    assert sizing is not None
    legs = market.legs
    # Below that, a fee's whole units and the price move at the same pace (the module's text, last paragraph).
    assume(all(pool.depth(token) > 10**10 for pool, _ in legs for token in (0, 1)))
    candidates: set[int | None] = set(range(max(1, sizing.amounts[0] - 1500), sizing.amounts[0] + 1500))
    middle = sizing.amounts[1]
    candidates |= {backward(legs[:1], amount) for amount in range(max(1, middle - 1500), middle + 1500)}
    sized = (forward(legs, amount) for amount in candidates if amount)
    best = max(way[-1] - way[0] - flash_premium(way[0], premium_bps) for way in sized if way)
    assert best <= sizing.profit + 5


def test_where_a_range_ends_as_much_is_sold_as_it_takes() -> None:
    """WETH for USDC and back; the v3 pool's range ends between an even input and the optimum."""
    usdc, weth = token(1, 6), token(2, 18)
    pair, concentrated = v2_pool(0, usdc, weth), v3_pool(1, usdc, weth)
    end, _ = range_around(198_070, 10)
    # 6250000 units of USDC behind the price, whose root is 0.04 % above the end: some 2500 units to go, of some 3400.
    price = end + end // 2_500
    liquidity = 6_250_000 * price // 2**96
    state = v3_state(concentrated, price, liquidity, 198_073)
    legs = []
    reserve = 660_000
    for pool, held in (
        (pair, v2_state(pair, reserve, reserve * (price * price * 985 // 1000 >> 192))),
        (concentrated, state),
    ):
        made = make_pool(pool)
        made.update(held)
        legs.append(made)
    cycle = [(legs[0], 1), (legs[1], 0)]
    sizing = best_input(cycle, 0)
    assert sizing is not None
    limit = legs[1].largest_in(0)
    ways = (forward(cycle, backward(cycle[:1], amount) or 0) for amount in range(1, limit + 1))
    assert sizing.profit >= max(way[-1] - way[0] for way in ways if way) - 5
    assert sizing.amounts[1] == limit
