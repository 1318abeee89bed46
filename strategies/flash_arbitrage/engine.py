"""The strategy without a bus: events in, signals out, the same for the same events.

A :class:`PoolSync` changes what is known of a pool. A :class:`SwapEvent` says that a trade is over: the engine
looks at the cycles through that pool, and at no others, since no other has changed
(:class:`~strategies.flash_arbitrage.search.Search`).

Both kinds of event come on topics of their own, so a swap may overtake its state. It then waits for it. A state that is
older than the one held is dropped. A block that the chain has given up is not taken back: its states are replaced
as soon as the new chain's logs are at the same height.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

from contracts.market import PoolMetadata, PoolSync, SwapEvent, Token
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256, Address
from strategies.flash_arbitrage.graph import CycleGraph, Node
from strategies.flash_arbitrage.pending import Pending, is_due
from strategies.flash_arbitrage.pool import ImpossibleStateError
from strategies.flash_arbitrage.pools import make_pool
from strategies.flash_arbitrage.search import Opportunity, Search
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.statistics import Counters, EngineStatistics

STRATEGY = "flash_arbitrage"

_NO_SEGMENT = re.compile(r"[^a-z0-9_-]+")
_MAX_ASSET = 32  # chosen by us: a token may call itself anything, a topic ends at 255 bytes


class Refusal(NamedTuple):
    """A state or description that was refused, for the service to report."""

    cause: str
    where: str
    detail: str


class Engine:
    """The strategy's state and decisions.

    Args:
        settings: as the service got them.
    """

    def __init__(self, settings: FlashArbitrageSettings) -> None:
        self._graph = CycleGraph(settings.start_tokens, settings.max_cycles_per_pool)
        self._pending = Pending(settings.max_unknown_pools, settings.max_waiting_per_pool)
        self._described: dict[Address, PoolMetadata] = {}
        self._refusals: list[Refusal] = []
        self._counters = Counters()
        self._search = Search(settings, self._graph, self._counters)

    def on_metadata(self, metadata: PoolMetadata) -> list[ArbitrageSignal]:
        """Take in a pool; its state and its swaps may have been waiting for this.

        Returns:
            Signals of the swaps that waited.
        """
        self._counters.events += 1
        known = self._described.get(metadata.pool)
        if known is not None:
            if known != metadata:
                self._refuse("metadata_changed", metadata.pool, f"{known} became {metadata}")
            return []
        try:
            pool = make_pool(metadata)
        except ImpossibleStateError as error:
            self._refuse(error.cause, metadata.pool, error.detail)
            return []
        self._described[metadata.pool] = metadata
        node = self._graph.add(pool)
        sync = self._pending.take_state(metadata.pool)
        return [] if sync is None else self._apply(node, sync)

    def on_sync(self, sync: PoolSync) -> list[ArbitrageSignal]:
        """Take over a pool's state.

        Returns:
            Signals of the swaps that waited for it; mostly none.
        """
        self._counters.events += 1
        node = self._graph.node(sync.pool)
        if node is None:
            if not self._pending.keep_state(sync):
                self._counters.stale += 1
            return []
        pool = node.pool
        if sync.block < pool.block or (sync.block == pool.block and sync.log_index < pool.log_index):
            self._counters.stale += 1
            return []
        return self._apply(node, sync)

    def on_swap(self, swap: SwapEvent) -> list[ArbitrageSignal]:
        """Look for profit in the cycles through the pool that was traded against.

        Returns:
            At most ``max_signals_per_event`` signals, best first. None while the pool's state is older than
            the swap: they come from :meth:`on_sync` then.
        """
        self._counters.events += 1
        node = self._graph.node(swap.pool)
        if node is None or not is_due(node.pool, swap):
            self._pending.keep_swap(swap)
            return []
        return self._examine(node, swap)

    def take_refusals(self) -> list[Refusal]:
        """What was refused since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    @property
    def stale(self) -> int:
        """How many states were dropped because a newer one was held."""
        return self._counters.stale

    def statistics(self) -> EngineStatistics:
        """The counters as they are now."""
        return self._counters.frozen(self._graph, self._pending)

    def _apply(self, node: Node, sync: PoolSync) -> list[ArbitrageSignal]:
        try:
            node.pool.update(sync)
        except ImpossibleStateError as error:
            self._refuse(error.cause, sync.pool, f"block {sync.block}, log {sync.log_index}: {error.detail}")
        self._graph.refresh(node)
        if not self._pending.has_swaps(sync.pool):
            return []
        return [signal for swap in self._pending.take_swaps(node.pool) for signal in self._examine(node, swap)]

    def _refuse(self, cause: str, pool: Address, detail: str) -> None:
        self._counters.refused[cause] += 1
        self._refusals.append(Refusal(cause, str(pool), detail))

    def _examine(self, node: Node, swap: SwapEvent) -> list[ArbitrageSignal]:
        return [_make_signal(found, swap) for found in self._search.best_through(node)]


def _make_signal(found: Opportunity, swap: SwapEvent) -> ArbitrageSignal:
    cycle, sizing = found.cycle, found.sizing
    amounts = [U256(amount) for amount in sizing.amounts]
    tokens = [token.address for token in (*cycle.tokens, cycle.start)]
    return ArbitrageSignal(
        strategy=STRATEGY,
        asset=asset_of(cycle.start),
        signal_id=signal_id(swap.block, swap.log_index, cycle.route),
        block=swap.block,
        log_index=swap.log_index,
        timestamp=swap.timestamp,
        hops=tuple(
            Hop(pool.address, tokens[at], tokens[at + 1], amounts[at], amounts[at + 1])
            for at, (pool, _) in enumerate(cycle.legs)
        ),
        gross_profit=I256(sizing.profit + sizing.premium),
        flash_premium=U256(sizing.premium),
        gas_cost=U256(found.gas_cost),
        net_profit=I256(found.net_profit),
    )


def signal_id(block: int, log_index: int, route: bytes) -> bytes:
    """16 bytes that name an opportunity: BLAKE2b of block and log index (8 bytes each, big-endian) and route."""
    return blake2b(block.to_bytes(8, "big") + log_index.to_bytes(8, "big") + route, digest_size=16).digest()


def asset_of(token: Token) -> str:
    """A token's symbol as a topic's segment: lower case, "-" for what a topic cannot hold; else its address."""
    return _NO_SEGMENT.sub("-", token.symbol.lower())[:_MAX_ASSET].strip("-") or str(token.address)
