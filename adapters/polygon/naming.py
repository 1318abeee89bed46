"""How pools are called on the bus: the segments of their topics."""

from __future__ import annotations

import re

from contracts.market import Protocol, Token

_FORBIDDEN = re.compile(r"[^a-z0-9_-]")


def segment(text: str) -> str:
    """``text`` as one segment of a topic: lower case, every other character than a-z, 0-9, ``_`` and ``-`` as ``-``."""
    return _FORBIDDEN.sub("-", text.lower())


def instrument_of(protocol: Protocol, token0: Token, token1: Token, fee_pips: int) -> str:
    """The instrument of a pool, such as ``usdc-weth``, or ``usdc-weth-500`` on Uniswap v3.

    Args:
        protocol: v3 has several pools for one pair of tokens, told apart by their fee.
        token0: the token with the smaller address.
        token1: the other.
        fee_pips: swap fee in millionths.
    """
    pair = f"{segment(token0.symbol)}-{segment(token1.symbol)}"
    return f"{pair}-{fee_pips}" if protocol is Protocol.UNISWAP_V3 else pair
