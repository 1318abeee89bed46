"""Uniswap v3: from ticks to prices (TickMath of v3-core), exactly as the chain computes them.

A price is kept as ``sqrt(token1 per token0) · 2**96``, a uint160. Tick ``i`` stands for the price
``1.0001**i`` (v3 whitepaper, 6.1).
"""

from __future__ import annotations

from functools import lru_cache

MIN_TICK = -887272
MAX_TICK = 887272
"""The ticks whose prices are 2**-128 and 2**128, within one tick."""

MIN_SQRT_RATIO = 4295128739
MAX_SQRT_RATIO = 1461446703485210103287273052203988822378723970342
"""The prices at :data:`MIN_TICK` and :data:`MAX_TICK`. A pool's price is at least the one and below the other."""

# sqrt(1.0001) ** -(2**k) as Q128, for k = 0 to 19: the constants of TickMath. Truncating after each
# multiplication is part of the definition.
_FACTORS = (
    0xFFFCB933BD6FAD37AA2D162D1A594001,
    0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC,
    0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644,
    0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861,
    0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4,
    0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3,
    0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825,
    0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7,
    0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9,
    0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98,
    0x48A170391F7DC42444E8FA2,
)


# Chosen by us: the boundaries of a few hundred pools' ranges, as their prices wander. 1 MB.
@lru_cache(maxsize=4096)
def sqrt_ratio_at_tick(tick: int) -> int:
    """``sqrt(1.0001**tick) · 2**96`` as TickMath.getSqrtRatioAtTick returns it.

    Args:
        tick: :data:`MIN_TICK` to :data:`MAX_TICK`.

    Raises:
        ValueError: a tick beyond them.
    """
    if not MIN_TICK <= tick <= MAX_TICK:
        raise ValueError(f"tick {tick} is not within {MIN_TICK} to {MAX_TICK}")
    ratio = 1 << 128
    for bit, factor in enumerate(_FACTORS):
        if abs(tick) >> bit & 1:
            ratio = ratio * factor >> 128
    if tick > 0:
        ratio = (2**256 - 1) // ratio
    return (ratio + 0xFFFFFFFF) >> 32  # Q128.128 to Q64.96, rounded up


def range_around(tick: int, tick_spacing: int) -> tuple[int, int]:
    """The prices between which a pool's liquidity cannot change, as (lower, upper) square roots.

    Liquidity changes only where a position begins or ends, and positions do so only at multiples of the
    tick spacing (v3 whitepaper, 6.2): between two neighbouring multiples it is constant, whoever
    provides it. The range may well go on beyond; that takes the tick bitmap, which no event carries.

    The outermost prices are one unit inside TickMath's: a swap's price limit must lie within them.

    Args:
        tick: the pool's current tick.
        tick_spacing: of the pool, at least 1.

    Raises:
        ValueError: the tick is beyond TickMath's.
    """
    lower = tick // tick_spacing * tick_spacing
    if not MIN_TICK <= tick <= MAX_TICK:
        raise ValueError(f"tick {tick} is not within {MIN_TICK} to {MAX_TICK}")
    return (
        max(sqrt_ratio_at_tick(max(lower, MIN_TICK)), MIN_SQRT_RATIO + 1),
        min(sqrt_ratio_at_tick(min(lower + tick_spacing, MAX_TICK)), MAX_SQRT_RATIO - 1),
    )
