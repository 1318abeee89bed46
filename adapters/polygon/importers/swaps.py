"""What is known of a trade after the fact."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from contracts.values import Address


class Kind(enum.StrEnum):
    """What sort of pool a trade went through."""

    UNISWAP_V2 = "uniswap_v2"
    UNISWAP_V3 = "uniswap_v3"
    CURVE = "curve"


class Basis(enum.StrEnum):
    """From what the reserves before a swap are known."""

    EARLIER_CALL = "earlier_call"
    """A swap, mint, burn or sync of the pair earlier in the block."""
    GET_RESERVES = "get_reserves"
    """A ``getReserves`` call before it."""
    TRANSFERS = "transfers"
    """Balance after the swap, less what was transferred in, confirmed by the exact formula."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One swap as a hop of a route sees it: one token in, another out, in smallest units.

    ``happened`` is False if the transaction or a call around it was rolled back.
    """

    kind: Kind
    transaction: bytes
    transaction_index: int
    path: tuple[int, ...]
    pool: Address
    token_in: Address
    token_out: Address
    amount_in: int
    amount_out: int
    happened: bool


@dataclass(frozen=True, slots=True)
class RebuiltSwap:
    """One swap of a Uniswap v2 style pair that happened, with exact amounts in smallest units.

    Args:
        transaction: hash of the transaction, 32 bytes.
        transaction_index: the transaction's place in the block.
        path: trace address of the swap call.
        order: 0, 1, 2, ... over the block's swaps, in the order in which they took effect.
        pool: the pair.
        sender: who called it; ``recipient`` is who was paid.
        token0: the pair's token with the smaller address.
        token1: the other.
        reserve0_before: reserve before the swap, None if it cannot be derived; likewise ``reserve1_before``.
        amount0_in: what the pair received of token 0, as its ``Swap`` event says; likewise ``amount1_in``. If the
            reserves before are None, what was transferred to it, which may be more.
        amount0_out: what the pair paid out of token 0; likewise ``amount1_out``.
        reserve0_after: reserve after the swap; likewise ``reserve1_after``.
        basis: from what the reserves before are known, None if they are not.
    """

    transaction: bytes
    transaction_index: int
    path: tuple[int, ...]
    order: int
    pool: Address
    sender: Address
    recipient: Address
    token0: Address
    token1: Address
    reserve0_before: int | None
    reserve1_before: int | None
    amount0_in: int
    amount1_in: int
    amount0_out: int
    amount1_out: int
    reserve0_after: int
    reserve1_after: int
    basis: Basis | None
