"""Hypothesis strategies: cycles of pools with states, from a few units of a token to millions of whole ones."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from hypothesis import strategies as st

from contracts.market import PoolMetadata, PoolSync, Protocol, Token
from strategies.flash_arbitrage.graph import Leg
from strategies.flash_arbitrage.pools import make_pool
from strategies.flash_arbitrage.ticks import MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, MIN_TICK, sqrt_ratio_at_tick
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool, v2_state, v3_pool, v3_state

DECIMALS = (6, 8, 18)
FEES = ((100, 1), (500, 10), (3000, 60), (10000, 200))


class Market(NamedTuple):
    """A cycle: its pools, their states, and which token is sold to each."""

    pools: list[PoolMetadata]
    states: list[PoolSync]
    sold: list[int]

    @property
    def legs(self) -> list[Leg]:
        legs = []
        for pool, state, sold in zip(self.pools, self.states, self.sold, strict=True):
            made = make_pool(pool)
            made.update(state)
            legs.append((made, sold))
        return legs

    @property
    def reference(self) -> list[tuple[PoolMetadata, PoolSync, int]]:
        return list(zip(self.pools, self.states, self.sold, strict=True))


def tick_at(sqrt_price: int) -> int:
    """The tick of a price, by bisection."""
    low, high = MIN_TICK, MAX_TICK
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sqrt_ratio_at_tick(middle) <= sqrt_price else (low, middle)
    return low


def _state(pool: PoolMetadata, reserve0: int, reserve1: int, width: int) -> PoolSync:
    if pool.protocol is Protocol.UNISWAP_V2:
        return v2_state(pool, reserve0, reserve1)
    sqrt_price = min(max(isqrt((reserve1 << 192) // reserve0), MIN_SQRT_RATIO + 1), MAX_SQRT_RATIO - 1)
    # So much that one step of the price is worth less than a tenth of a unit of either token.
    most = min(2**92, sqrt_price * sqrt_price >> 100)
    liquidity = max(1, min(isqrt(reserve0 * reserve1) * width, most))
    return v3_state(pool, sqrt_price, liquidity, tick_at(sqrt_price))


@st.composite
def markets(
    draw: st.DrawFn,
    *,
    sizes: tuple[int, ...] = (2, 3),
    protocols: tuple[Protocol, ...] = tuple(Protocol),
    small: bool | None = None,
    gap: float = 0.2,
) -> Market:
    """A cycle whose prices nearly cancel.

    Each pool pays what the two tokens are worth, up to ``gap`` more, or a quarter of that less.
    """
    size = draw(st.sampled_from(sizes))
    small = draw(st.booleans()) if small is None else small
    numbers = draw(st.permutations(range(1, size + 1)))
    tokens = [token(number, draw(st.sampled_from(DECIMALS))) for number in numbers]
    worth = [1.0] * size if small else [10 ** draw(st.floats(-3, 4)) for _ in tokens]
    pools, states, sold = [], [], []
    for place in range(size):
        one, other = place, (place + 1) % size
        side = draw(st.floats(3, 500)) if small else draw(st.floats(1e3, 1e8))
        shift = 1 + draw(st.floats(-gap / 4, gap))
        amounts = {
            index: max(2, int(side * factor if small else side / worth[index] * 10 ** tokens[index].decimals * factor))
            for index, factor in ((one, 1.0), (other, shift))
        }
        low, high = sorted((one, other), key=lambda index: tokens[index].address)
        if draw(st.sampled_from(protocols)) is Protocol.UNISWAP_V2:
            pool = v2_pool(place, tokens[low], tokens[high], draw(st.sampled_from((500, 2500, 3000))))
        else:
            pool = v3_pool(place, tokens[low], tokens[high], *draw(st.sampled_from(FEES)))
        pools.append(pool)
        states.append(_state(pool, amounts[low], amounts[high], draw(st.sampled_from((1, 30, 1000)))))
        sold.append(int(low != one))
    return Market(pools, states, sold)


def tokens_of(market: Market) -> list[Token]:
    """What each leg is sold."""
    return [(pool.token0, pool.token1)[sold] for pool, sold in zip(market.pools, market.sold, strict=True)]
