"""Which cycles of two and three pools there are, found as pools appear.

A cycle is a way from a start token through two or three different pools back to it. A new pool can close cycles only
with pools that are known already, so each cycle is found once: when its last pool arrives.

Each cycle is listed under each of its pools, so that one event costs the cycles through one pool. The
list holds, beside the cycle, the positions of the other legs' rates in one flat list: screening a cycle
is two look-ups and a multiplication.

Nothing here depends on the order of a set or on hashes: the same pools in the same order give the
same lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from contracts.market import Token
from contracts.values import Address
from strategies.flash_arbitrage.pool import Pool

Leg = tuple[Pool, int]
"""A pool and which of its tokens is sold to it: 0 or 1."""

_NO_EDGE = 0
"""Position of a rate that is always 1: the third leg of a cycle of two."""


class Cycle:
    """A closed route.

    Attributes:
        legs: the pools in order, the first of which is sold the start token.
        tokens: what each leg is sold; ``tokens[0]`` is the start token.
        start: the start token.
        rank: the start token's place among the configured ones.
        edges: the positions of the legs' rates and slopes in the graph's lists.
        route: pool addresses and directions as bytes: the cycle's identity.
    """

    __slots__ = ("edges", "legs", "rank", "route", "start", "tokens")

    def __init__(self, legs: tuple[Leg, ...], edges: tuple[int, ...], rank: int) -> None:
        self.legs = legs
        self.edges = edges
        self.rank = rank
        self.tokens = tuple(_token_in(leg) for leg in legs)
        self.start = self.tokens[0]
        self.route = b"".join(pool.address + bytes([sold]) for pool, sold in legs)


Listed = tuple[int, int, Cycle]
"""A cycle as one of its pools lists it: the positions of its other two rates, and the cycle."""


class Node:
    """A pool in the graph: the position of its rates, and the cycles through it per direction."""

    __slots__ = ("edge", "listed", "pool")

    def __init__(self, pool: Pool, edge: int) -> None:
        self.pool = pool
        self.edge = edge
        self.listed: tuple[list[Listed], list[Listed]] = ([], [])
        """The cycles that sell token 0 to this pool, and those that sell it token 1."""

    @property
    def cycles(self) -> int:
        """How many cycles are listed."""
        return len(self.listed[0]) + len(self.listed[1])


class CycleGraph:
    """All known pools and the cycles among them.

    Args:
        start_tokens: where a cycle may start; the first of these on a cycle is its start. A cycle with none
            of them is no use to us: there is no loan to start it with.
        max_cycles_per_pool: how many cycles a pool lists at most. What finds no place is counted in
            :attr:`overflow`; the cycle's other pools still list it if they have room.
    """

    def __init__(self, start_tokens: Sequence[Address], max_cycles_per_pool: int) -> None:
        self._priority = {token: rank for rank, token in enumerate(start_tokens)}
        self._max_cycles = max_cycles_per_pool
        self._nodes: dict[Address, Node] = {}
        # token -> other token -> the pools between them, in order of arrival
        self._between: dict[Address, dict[Address, list[Pool]]] = {}
        self.rates: list[float] = [1.0, 1.0]
        """At ``node.edge`` the rate of selling token 0, behind it that of selling token 1."""
        self.slopes: list[float] = [0.0, 0.0]
        """The slopes, at the same positions."""
        self.overflow = 0
        self.cycles = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, address: Address) -> Node | None:
        """The pool at ``address``, if it is known."""
        return self._nodes.get(address)

    def nodes(self) -> Iterable[Node]:
        """All pools, in order of arrival."""
        return self._nodes.values()

    def between(self, token: Address, other: Address) -> Sequence[Pool]:
        """The pools which trade these two tokens, in order of arrival."""
        return self._between.get(token, {}).get(other, ())

    def add(self, pool: Pool) -> Node:
        """Take in a pool that is not known yet, with all the cycles it closes."""
        node = Node(pool, len(self.rates))
        self.rates += [pool.rate0, pool.rate1]
        self.slopes += [pool.slope0, pool.slope1]
        self._nodes[pool.address] = node
        for legs in self._closed_by(pool):
            self._list(legs)
            self._list(tuple((member, 1 - sold) for member, sold in reversed(legs)))
        for token, other in _both_ways(pool):
            self._between.setdefault(token, {}).setdefault(other, []).append(pool)
        return node

    def refresh(self, node: Node) -> None:
        """Take over the rates and slopes of a pool whose state has changed."""
        pool, edge = node.pool, node.edge
        self.rates[edge] = pool.rate0
        self.rates[edge + 1] = pool.rate1
        self.slopes[edge] = pool.slope0
        self.slopes[edge + 1] = pool.slope1

    def screen(self, node: Node, least: float) -> tuple[list[Cycle], int]:
        """The cycles through a pool whose rates multiply to more than ``least``, and how many there were to look at."""
        rates = self.rates
        passed: list[Cycle] = []
        for sold in (0, 1):
            rate = rates[node.edge + sold]
            if rate > 0.0:
                needed = least / rate
                passed += [cycle for i, j, cycle in node.listed[sold] if rates[i] * rates[j] > needed]
        return passed, node.cycles

    def _closed_by(self, pool: Pool) -> Iterator[tuple[Leg, ...]]:
        """The routes which sell token 0 to ``pool`` and lead back to token 0 over one or two known pools."""
        home, away = pool.token0.address, pool.token1.address
        first = (pool, 0)
        for second in self.between(away, home):
            yield first, _leg(second, away)
        from_home = self._between.get(home, {})
        for third_token, lasts in from_home.items():
            for second in self.between(away, third_token):
                for last in lasts:
                    yield first, _leg(second, away), _leg(last, third_token)

    def _list(self, legs: tuple[Leg, ...]) -> None:
        ranks = [self._priority.get(_token_in(leg).address, len(self._priority)) for leg in legs]
        at = ranks.index(min(ranks))
        if ranks[at] == len(self._priority):
            return
        legs = legs[at:] + legs[:at]
        edges = tuple(self._nodes[pool.address].edge + sold for pool, sold in legs)
        cycle = Cycle(legs, edges, ranks[at])
        self.cycles += 1
        for position, (pool, sold) in enumerate(cycle.legs):
            node = self._nodes[pool.address]
            if node.cycles >= self._max_cycles:
                self.overflow += 1
                continue
            others = (*edges[:position], *edges[position + 1 :], _NO_EDGE)
            node.listed[sold].append((others[0], others[1], cycle))


def _token_in(leg: Leg) -> Token:
    pool, sold = leg
    return pool.token1 if sold else pool.token0


def _leg(pool: Pool, token_in: Address) -> Leg:
    return pool, int(pool.token1.address == token_in)


def _both_ways(pool: Pool) -> Iterator[tuple[Address, Address]]:
    yield pool.token0.address, pool.token1.address
    yield pool.token1.address, pool.token0.address
