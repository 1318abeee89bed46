"""Signals: what strategies conclude."""

from __future__ import annotations

from contracts.values import I256, U256, Address
from mycelium.core.message import Message, Part


class Hop(Part, frozen=True):
    """One swap of a route, with exact amounts in smallest units."""

    pool: Address
    token_in: Address
    token_out: Address
    amount_in: U256
    amount_out: U256


class ArbitrageSignal(Message, type_id=200, topic="signals.{strategy}.{asset}"):
    """A cycle of swaps that ends with more of its first token than it began with.

    All amounts are in smallest units of the cycle's first token, whose symbol in lower case is
    ``asset``, with ``-`` for what no topic can hold.
    ``net_profit = gross_profit - flash_premium - gas_cost`` and
    ``gross_profit = hops[-1].amount_out - hops[0].amount_in``; the pools' own fees are inside the
    hops. ``block``, ``log_index`` and ``timestamp`` are those of the event that made it visible.
    ``signal_id`` is a hash of block, log index, route and branch: the same chain gives the same ids.
    ``branch`` is that event's: a signal of a block that is retracted is void, see
    :class:`~contracts.market.BlockRetracted`.
    """

    strategy: str
    asset: str
    signal_id: bytes
    block: int
    log_index: int
    timestamp: int
    hops: tuple[Hop, ...]
    gross_profit: I256
    flash_premium: U256
    gas_cost: U256
    net_profit: I256
    branch: int = 0

    @property
    def amount_in(self) -> U256:
        """What the cycle starts with, borrowed by the flash loan."""
        return self.hops[0].amount_in
