"""Finds the arbitrages that traders really did in a block: trades of one transaction that form a cycle.

A cycle is a route in which each trade sells the token that the trade before it bought, in about the same amount, and
the last one buys what the first one sold. Trades are linked by token and amount and not by their order in the
transaction, since a flash swap pays out before it is paid. "Arbitrage" means such a cycle, not a profitable one: that
is how mev-inspect-py, where the blocks come from, counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from adapters.polygon.importers.swaps import Kind, Trade
from contracts.values import Address

TOLERANCE_PERCENT = 1
"""How much of what a hop bought may differ from what the next one sells: traders keep a little, tokens take a fee.
The figure is mev-inspect-py's."""

MAX_HOPS = 8
"""Bounds the search; the longest cycle in the recorded blocks has 4 hops."""


@dataclass(frozen=True, slots=True)
class RecordedHop:
    """One trade of a cycle, with amounts in smallest units."""

    kind: Kind
    pool: Address
    token_in: Address
    token_out: Address
    amount_in: int
    amount_out: int


@dataclass(frozen=True, slots=True)
class RecordedArbitrage:
    """A cycle of trades in one transaction.

    Args:
        transaction: hash of the transaction, 32 bytes.
        transaction_index: its place in the block.
        hops: two or more, in the order of the route.
        profit: what the last hop bought less what the first sold, in smallest units of ``start_token``, before gas and
            what was paid to the miner; may be negative.
        start_token: the token the route starts and ends with.
        succeeded: False if it was rolled back.
    """

    transaction: bytes
    transaction_index: int
    hops: tuple[RecordedHop, ...]
    profit: int
    start_token: Address
    succeeded: bool

    @property
    def constant_product(self) -> bool:
        """Whether all hops went through pairs of the Uniswap v2 kind."""
        return all(hop.kind is Kind.UNISWAP_V2 for hop in self.hops)


def find_arbitrages(trades: Iterable[Trade]) -> tuple[RecordedArbitrage, ...]:
    """The cycles among ``trades``, each trade in at most one of them.

    Args:
        trades: in the order of their transactions, as ``TradeFinder.trades`` has them.
    """
    found: list[RecordedArbitrage] = []
    for _, group in groupby(trades, key=attrgetter("transaction_index")):
        found.extend(_cycles(list(group)))
    return tuple(found)


def _cycles(trades: list[Trade]) -> Iterator[RecordedArbitrage]:
    while True:
        routes = [route for start in trades for route in _routes([start], trades)]
        if not routes:
            return
        # A cycle closes nearly everywhere at once: the trader's own start is where amounts meet exactly elsewhere. The
        # shortest goes first, so that two cycles of one transaction are not told as one.
        best = min(routes, key=lambda route: (len(route), _leftover(route)))
        yield _recorded(best)
        trades = [trade for trade in trades if not any(trade is used for used in best)]


def _routes(route: list[Trade], trades: Sequence[Trade]) -> Iterator[list[Trade]]:
    """All cycles that begin with ``route``."""
    last = route[-1]
    if len(route) > 1 and last.token_out == route[0].token_in:
        yield route
        return
    if len(route) == MAX_HOPS:
        return
    for trade in trades:
        if trade.pool not in {used.pool for used in route} and trade.happened == last.happened and _feeds(last, trade):
            yield from _routes([*route, trade], trades)


def _feeds(first: Trade, second: Trade) -> bool:
    difference = abs(first.amount_out - second.amount_in)
    return first.token_out == second.token_in and 100 * difference <= TOLERANCE_PERCENT * first.amount_out


def _leftover(route: Sequence[Trade]) -> int:
    """How far the amounts inside the route are from meeting, in millionths, added up."""
    return sum(
        abs(first.amount_out - second.amount_in) * 1_000_000 // first.amount_out for first, second in pairwise(route)
    )


def _recorded(route: Sequence[Trade]) -> RecordedArbitrage:
    return RecordedArbitrage(
        transaction=route[0].transaction,
        transaction_index=route[0].transaction_index,
        hops=tuple(RecordedHop(t.kind, t.pool, t.token_in, t.token_out, t.amount_in, t.amount_out) for t in route),
        profit=route[-1].amount_out - route[0].amount_in,
        start_token=route[0].token_in,
        succeeded=route[0].happened,
    )
