"""Collects what is said of a block until all of it is there, and gives out blocks in the order of the chain.

Theory of operation. The source publishes on many topics and closes each block with the number of its events. Only the
order on one topic is promised, so a block's events, its closing, the events of later blocks and the pools' descriptions
may come in any order. A block is whole when it is closed, has as many events as its closing says, and as many pools are
described. Blocks are given out whole and in their order, so that whoever works through them sees the same whatever
came first.

What may come again, after a crash here or at the source, is recognised by block, log index and kind. A source that is
started again begins again: of blocks that have been given out everything is a repeat; a block that it was killed in
gets the rest of its events, and its closing. If it begins further on, a block that was left open is never closed: the
next closing says so, since closings are one stream, and the block is given out with what is there.

What waits is bounded. Beyond, something was lost or is very late: the lowest block is given out with what is there.
Descriptions that are missing then are not waited for again.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from contracts.market import BlockClosed, PoolMetadata, PoolSync, SwapEvent
from contracts.values import Address

MarketEvent: TypeAlias = PoolSync | SwapEvent

REPEATED = "repeated"
LATE = "of a block that is done"


class Block(NamedTuple):
    """A block to work through."""

    number: int
    pools: Sequence[PoolMetadata]
    """Those that have been described since the block before, by address."""
    events: Sequence[MarketEvent]
    """By log index, the state before the swap of the same log."""
    missing: str | None
    """What it waited for when it was given up; None if it is whole."""


class Blocks:
    """The blocks that are not whole yet.

    Args:
        max_waiting: how many messages may wait for others.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting = 0
        self._open: dict[int, dict[int, MarketEvent]] = {}
        self._unclosed: list[int] = []  # a heap of the open blocks without a closing
        self._next: deque[tuple[int, BlockClosed | None]] = deque()  # those that wait no more for theirs, in order
        self._passed = -1  # up to here nothing is opened any more
        self._known: dict[Address, PoolMetadata] = {}
        self._described: list[PoolMetadata] = []  # since the last block
        self._given_up = 0  # descriptions that are not waited for

    def describe(self, pool: PoolMetadata) -> str | None:
        """Take in a description. Why it is left out, None if it is not."""
        if self._known.get(pool.pool) == pool:
            return REPEATED
        self._known[pool.pool] = pool
        self._described.append(pool)
        self._waiting += 1
        return None

    def add(self, event: MarketEvent) -> str | None:
        """Take in an event. Why it is left out, None if it is not."""
        number = event.block
        events = self._open.get(number)
        if events is None:
            if number <= self._passed:
                return LATE
            events = self._open[number] = {}
            heapq.heappush(self._unclosed, number)
        place = 2 * event.log_index + (type(event) is SwapEvent)
        if place in events:
            return REPEATED
        events[place] = event
        self._waiting += 1
        return None

    def close(self, closed: BlockClosed) -> str | None:
        """Take in a block's closing. Why it is left out, None if it is not."""
        number = closed.block
        if number <= self._passed:
            return REPEATED
        unclosed = self._unclosed
        while unclosed and unclosed[0] < number:
            self._next.append((heapq.heappop(unclosed), None))
        if unclosed and unclosed[0] == number:
            heapq.heappop(unclosed)
        else:
            self._open[number] = {}
        self._next.append((number, closed))
        self._passed = number
        self._waiting += 1
        return None

    def take(self, *, anyway: bool = False) -> Block | None:
        """The lowest block if it is whole, or is waited for no longer.

        Args:
            anyway: what is there, whole or not.
        """
        anyway = anyway or self._waiting > self._max_waiting
        if not self._next and not anyway:
            return None
        missing = None
        if self._next:
            number, closed = self._next[0]
            if closed is None:
                missing = "its closing"
            elif not self._is_whole(closed):
                if not anyway:
                    return None
                missing = self._what_is_missing(closed)
                self._given_up = max(self._given_up, closed.pools - len(self._known))
            self._next.popleft()
        elif self._unclosed:
            number, closed, missing = heapq.heappop(self._unclosed), None, "its closing"
            self._passed = number
        else:
            return None
        events = self._open.pop(number)
        pools, self._described = sorted(self._described, key=_address), []
        self._waiting -= len(events) + len(pools) + (closed is not None)
        return Block(number, pools, [events[place] for place in sorted(events)], missing)

    def _is_whole(self, closed: BlockClosed) -> bool:
        enough = len(self._open[closed.block]) >= closed.swaps + closed.syncs
        return enough and len(self._known) + self._given_up >= closed.pools

    def _what_is_missing(self, closed: BlockClosed) -> str:
        kinds = Counter(type(event) for event in self._open[closed.block].values())
        missing = {
            "SwapEvent": closed.swaps - kinds[SwapEvent],
            "PoolSync": closed.syncs - kinds[PoolSync],
            "PoolMetadata": closed.pools - self._given_up - len(self._known),
        }
        return ", ".join(f"{number} {kind}" for kind, number in missing.items() if number > 0)


def _address(pool: PoolMetadata) -> Address:
    return pool.pool
