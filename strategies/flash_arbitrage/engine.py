"""The strategy without a bus: events in, signals out, the same for the same events in the same order.

A :class:`PoolSync` changes what is known of a pool. A :class:`SwapEvent` says that a trade is over: the engine
looks at the cycles through that pool, and at no others, since no other has changed
(:class:`~strategies.flash_arbitrage.search.Search`).

Events come in the order of the chain (:class:`~strategies.flash_arbitrage.blocks.Blocks`). Where one is missing, the
swap that it belongs to is left out: prices of another moment are no opportunity.

Blocks that the chain has given up are taken back: every pool has again the state from before them, as if the engine had
never seen them. Descriptions stay: what a pool is does not depend on the branch, and it is described only once. So do
the counters, since they say what was done; signals of blocks that were taken back are counted a second time as void.
Pools and the count of signals go back some 256 blocks (:data:`~strategies.flash_arbitrage.pool.REMEMBERED`).
"""

from __future__ import annotations

import re
from collections import deque
from hashlib import blake2b
from typing import NamedTuple

from contracts.market import PoolMetadata, PoolSync, SwapEvent, Token
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256, Address
from strategies.flash_arbitrage.graph import CycleGraph
from strategies.flash_arbitrage.pool import REMEMBERED, ImpossibleStateError
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
        self._described: dict[Address, PoolMetadata] = {}
        self._refusals: list[Refusal] = []
        self._counters = Counters()
        self._search = Search(settings, self._graph, self._counters)
        self._signalled: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)  # newest blocks and their numbers of signals

    def on_metadata(self, metadata: PoolMetadata) -> None:
        """Take in a pool."""
        self._counters.events += 1
        known = self._described.get(metadata.pool)
        if known is not None:
            if known != metadata:
                self._refuse("metadata_changed", metadata.pool, f"{known} became {metadata}")
            return
        try:
            pool = make_pool(metadata)
        except ImpossibleStateError as error:
            self._refuse(error.cause, metadata.pool, error.detail)
            return
        self._described[metadata.pool] = metadata
        self._graph.add(pool)

    def on_sync(self, sync: PoolSync) -> None:
        """Take over a pool's state."""
        self._counters.events += 1
        node = self._graph.node(sync.pool)
        if node is None:
            self._counters.left_out += 1
            return
        try:
            node.pool.update(sync)
        except ImpossibleStateError as error:
            self._refuse(error.cause, sync.pool, f"block {sync.block}, log {sync.log_index}: {error.detail}")
        self._graph.refresh(node)

    def on_swap(self, swap: SwapEvent) -> list[ArbitrageSignal]:
        """Look for profit in the cycles through the pool that was traded against.

        Returns:
            At most ``max_signals_per_event`` signals, best first. None if the state that follows from the swap
            is not there.
        """
        self._counters.events += 1
        node = self._graph.node(swap.pool)
        if node is None or not node.pool.is_at_least(swap.block, swap.log_index - node.pool.trigger_lag):
            self._counters.left_out += 1
            return []
        signals = [_make_signal(found, swap) for found in self._search.best_through(node)]
        if signals:
            in_block = len(signals)
            if self._signalled and self._signalled[-1][0] == swap.block:
                in_block += self._signalled.pop()[1]
            self._signalled.append((swap.block, in_block))
        return signals

    def take_back(self, block: int) -> None:
        """Forget what was said of this block and of those above."""
        for node in self._graph.nodes():
            if not node.pool.take_back(block):
                self._counters.states_forgotten += 1
            self._graph.refresh(node)
        while self._signalled and self._signalled[-1][0] >= block:
            self._counters.signals_void += self._signalled.pop()[1]

    def take_refusals(self) -> list[Refusal]:
        """What was refused since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def statistics(self) -> EngineStatistics:
        """The counters as they are now."""
        return self._counters.frozen(self._graph)

    def _refuse(self, cause: str, pool: Address, detail: str) -> None:
        self._counters.refused[cause] += 1
        self._refusals.append(Refusal(cause, str(pool), detail))


def _make_signal(found: Opportunity, swap: SwapEvent) -> ArbitrageSignal:
    cycle, sizing = found.cycle, found.sizing
    amounts = [U256(amount) for amount in sizing.amounts]
    tokens = [token.address for token in (*cycle.tokens, cycle.start)]
    return ArbitrageSignal(
        strategy=STRATEGY,
        asset=asset_of(cycle.start),
        signal_id=signal_id(swap.block, swap.log_index, cycle.route, swap.branch),
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
        branch=swap.branch,
    )


def signal_id(block: int, log_index: int, route: bytes, branch: int = 0) -> bytes:
    """16 bytes that name an opportunity: BLAKE2b of block and log index (8 bytes each, big-endian) and route.

    The same place on another branch may offer another amount, so a branch above 0 comes behind, in 8 bytes. A route is
    21 bytes for each pool: no name without a branch is one with.
    """
    named = block.to_bytes(8, "big") + log_index.to_bytes(8, "big") + route
    return blake2b(named + branch.to_bytes(8, "big") if branch else named, digest_size=16).digest()


def asset_of(token: Token) -> str:
    """A token's symbol as a topic's segment: lower case, "-" for what a topic cannot hold; else its address."""
    return _NO_SEGMENT.sub("-", token.symbol.lower())[:_MAX_ASSET].strip("-") or str(token.address)
