"""From a pool that has moved to the best opportunities through it.

Theory of operation
-------------------
Three sieves, each finer and dearer than the one before:

1. The product of a cycle's marginal prices. No profit without it being above what the loan asks back.
2. The profit's upper bound: the maximum over real inputs of ``r·x / (1 + s·x) - (1 + p)·x``, which is
   ``(√r - √(1 + p))² / s`` (``r`` and ``s`` composed from the legs' rates and slopes). No exact profit exceeds
   it, since the chain rounds against the trader and ranges only take inputs away. No signal where it is below
   gas.
3. Exact sizing, in the order of those bounds, until enough opportunities are found that are better than every bound
   that is left.

The first two use floats. Floats err, so both are widened by :data:`MARGIN`: they can let through what the third
then refuses, but not refuse what it would let through. Amounts come from the third alone, which has no floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from operator import attrgetter, itemgetter
from typing import NamedTuple

from strategies.flash_arbitrage.gas import GasPricer
from strategies.flash_arbitrage.graph import Cycle, CycleGraph, Node
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.sizing import BASIS_POINTS, Sizing, best_input
from strategies.flash_arbitrage.statistics import Counters

MARGIN = 1e-12
"""Relative allowance for rounding. What the screens compute takes fewer than 50 float operations, each wrong by at most
2**-53 of its result: together under 6e-15. Chosen by us over a hundred times as wide; it costs nothing."""


class Opportunity(NamedTuple):
    """A cycle with a profit after premium and gas, in smallest units of its start token."""

    order: tuple[int, int, bytes]
    """Sorts the best first."""
    cycle: Cycle
    sizing: Sizing
    gas_cost: int
    net_profit: int


class _Measure(NamedTuple):
    """How profits of cycles with one start token and number of pools compare with those of others.

    With a gas price, profits are worth what gas costs in their token: ``profit·wei / gas_cost``. Without, there is no
    common measure, and the start tokens' order decides first.
    """

    gas_cost: int
    group: int
    wei: int
    per: int
    least: int
    """The smallest net profit that is worth a signal."""


class Search:
    """Finds what is worth a signal.

    Args:
        settings: what a loan and gas cost, and how much is worth a signal.
        graph: the cycles and the pools' present state.
        counters: counts what becomes of every cycle.
    """

    def __init__(self, settings: FlashArbitrageSettings, graph: CycleGraph, counters: Counters) -> None:
        self._settings = settings
        self._graph = graph
        self._gas = GasPricer(settings, graph)
        self._counters = counters
        owed = 1 + settings.flash_premium_bps / BASIS_POINTS
        self._least_product = owed * (1 - MARGIN)
        self._root_owed = sqrt(owed) * (1 - MARGIN)

    def best_through(self, node: Node) -> Sequence[Opportunity]:
        """The best opportunities through a pool, best first, at most ``max_signals_per_event``."""
        passed, examined = self._graph.screen(node, self._least_product)
        self._counters.examined += examined
        self._counters.screened_out += examined - len(passed)
        if not passed:
            return ()
        return self._best_of(self._bounded(passed))

    def _bounded(self, cycles: Iterable[Cycle]) -> list[tuple[int, float, int, Cycle, _Measure]]:
        """The cycles whose bound exceeds their gas, the highest bound first.

        Each with what it is sorted by: its group, the bound (negative, for the sort), and its place in the list,
        so that equals keep the order of the graph.
        """
        measures: dict[int, _Measure | None] = {}
        bounded: list[tuple[int, float, int, Cycle, _Measure]] = []
        for place, cycle in enumerate(cycles):
            key = cycle.rank * 4 + len(cycle.legs)  # a cycle has fewer than 4 pools
            if key not in measures:
                measures[key] = self._measure(cycle)
            measure = measures[key]
            if measure is None:
                self._counters.unpriced_gas += 1
                continue
            bound = self._bound(cycle) - measure.gas_cost * (1 - MARGIN)
            if bound <= 0:
                self._counters.screened_out += 1
            else:
                value = bound * measure.wei / measure.per * (1 + MARGIN)
                bounded.append((measure.group, -value, place, cycle, measure))
        bounded.sort(key=itemgetter(0, 1, 2))
        return bounded

    def _best_of(self, bounded: Sequence[tuple[int, float, int, Cycle, _Measure]]) -> list[Opportunity]:
        found: list[Opportunity] = []
        most = self._settings.max_signals_per_event
        for sized, (group, value, _, cycle, measure) in enumerate(bounded):
            if len(found) >= most and found[most - 1].order[:2] < (group, value):
                self._counters.outranked += len(bounded) - sized
                break
            opportunity = self._sized(cycle, measure)
            if opportunity is not None:
                found.append(opportunity)
                found.sort(key=attrgetter("order"))
        self._counters.signals += min(len(found), most)
        self._counters.over_limit += max(0, len(found) - most)
        return found[:most]

    def _sized(self, cycle: Cycle, measure: _Measure) -> Opportunity | None:
        self._counters.sized += 1
        sizing = best_input(cycle.legs, self._settings.flash_premium_bps)
        net_profit = 0 if sizing is None else sizing.profit - measure.gas_cost
        if sizing is None or net_profit <= 0:
            self._counters.unprofitable += 1
            return None
        if net_profit < measure.least:
            self._counters.below_minimum += 1
            return None
        order = measure.group, -(net_profit * measure.wei // measure.per), cycle.route
        return Opportunity(order, cycle, sizing, measure.gas_cost, net_profit)

    def _bound(self, cycle: Cycle) -> float:
        """No profit of the cycle, before gas, is higher. In smallest units of its start token."""
        rates, slopes = self._graph.rates, self._graph.slopes
        rate, slope = 1.0, 0.0
        for edge in cycle.edges:
            slope += rate * slopes[edge]
            rate *= rates[edge]
        # The difference of two roots that are nearly equal has hardly a correct digit; widened, it is too high.
        gain = sqrt(rate) * (1 + MARGIN) - self._root_owed
        return gain * gain / slope * (1 + MARGIN) if gain > 0 else 0.0

    def _measure(self, cycle: Cycle) -> _Measure | None:
        """For cycles like this one; None if gas has no price in its start token."""
        hops = len(cycle.legs)
        least = self._settings.min_net_profit.get(cycle.start.address, 0)
        gas_cost = self._gas.in_token(cycle.start, hops)
        if gas_cost is None:
            return None
        if gas_cost == 0:
            return _Measure(0, cycle.rank, 1, 1, least)
        return _Measure(gas_cost, 0, self._gas.in_native(hops), gas_cost, least)
