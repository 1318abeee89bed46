"""What the engine counts. Nothing that it leaves out is left out silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from strategies.flash_arbitrage.graph import CycleGraph


@dataclass(frozen=True)
class EngineStatistics:
    """The engine's counters. They balance::

    examined = screened_out + unpriced_gas + outranked + sized
    sized    = unprofitable + below_minimum + over_limit + signals
    """

    events: int
    """Messages of all three kinds."""
    pools: int
    cycles: int
    cycles_over_limit: int
    """Entries in pools' lists of cycles for which there was no room."""
    examined: int
    """Cycles looked at, once per event."""
    screened_out: int
    """Of them, those whose prices leave no profit, or none above gas."""
    unpriced_gas: int
    """Those with a profit before gas, which no known pool could quote in the start token."""
    outranked: int
    """Those which could not be among the best of their event."""
    sized: int
    """The rest, for which the best input was computed."""
    unprofitable: int
    """Sized, and nothing left after premium and gas."""
    below_minimum: int
    """Sized, and profitable by less than ``min_net_profit``."""
    over_limit: int
    """Sized and profitable, but not among the best of their event."""
    signals: int
    signals_void: int
    """Of them, those of blocks that were taken back, as far back as is remembered."""
    states_forgotten: int
    """Pools that went out of use because their state from before a block that was taken back is not remembered."""
    left_out: int
    """States and swaps of pools that are not described, and swaps without the state that follows from them."""
    refused: tuple[tuple[str, int], ...]
    """Impossible states and descriptions by cause, in alphabetical order."""


@dataclass(slots=True)
class Counters:
    """The counters while they count."""

    events: int = 0
    examined: int = 0
    screened_out: int = 0
    unpriced_gas: int = 0
    outranked: int = 0
    sized: int = 0
    unprofitable: int = 0
    below_minimum: int = 0
    over_limit: int = 0
    signals: int = 0
    signals_void: int = 0
    states_forgotten: int = 0
    left_out: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def frozen(self, graph: CycleGraph) -> EngineStatistics:
        """Their values now, with those that the graph holds."""
        return EngineStatistics(
            events=self.events,
            pools=len(graph),
            cycles=graph.cycles,
            cycles_over_limit=graph.overflow,
            examined=self.examined,
            screened_out=self.screened_out,
            unpriced_gas=self.unpriced_gas,
            outranked=self.outranked,
            sized=self.sized,
            unprofitable=self.unprofitable,
            below_minimum=self.below_minimum,
            over_limit=self.over_limit,
            signals=self.signals,
            signals_void=self.signals_void,
            states_forgotten=self.states_forgotten,
            left_out=self.left_out,
            refused=tuple(sorted(self.refused.items())),
        )
