"""Prices for a person to look at. Floats are right here and nowhere near an amount."""

from __future__ import annotations

from contracts.market import PoolMetadata, PoolSync, Protocol


def price_of(state: PoolSync, pool: PoolMetadata) -> float | None:
    """Whole units of token 1 for one whole unit of token 0, before fees; None if the pool is empty.

    Uniswap v2: reserve1 / reserve0. Uniswap v3: (sqrt_price_x96 / 2**96)**2.
    """
    scale = 10.0 ** (pool.token0.decimals - pool.token1.decimals)
    if pool.protocol is Protocol.UNISWAP_V3:
        return (state.sqrt_price_x96 / 2**96) ** 2 * scale if state.sqrt_price_x96 else None
    return state.reserve1 / state.reserve0 * scale if state.reserve0 else None
