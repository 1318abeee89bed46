"""Collects what is said of a block until all of it is there, and gives out blocks in the order of the chain.

Theory of operation. The source publishes on many topics and closes each block with the number of its events. Only the
order on one topic is promised, so a block's events, its closing, the events of later blocks and the pools' descriptions
may come in any order. A block is whole when it is closed, has as many events as its closing says, and as many pools are
described. Blocks are given out whole and in their order, so that whoever works through them sees the same whatever
came first.

What may come again, after a crash here or at the source, is recognised by branch, block, log index and kind. A source
that is started again begins again: of blocks that have been given out everything is a repeat; a block that it was
killed in gets the rest of its events, and its closing. If it begins further on, a block that was left open is never
closed: the next closing says so, since closings are one stream, and the block is given out with what is there.

A chain may go another way. Then its blocks from one on belong to a new branch, whose retraction says which one. What
the retraction makes void and has not been given out yet is dropped; if some of it has, a step is given out that takes
it back; what is void and comes later is left out. Whoever takes back what he is told to has, in the end, the blocks of
the chain that counts, whatever came first. So:

- Branches are given out one after the other, and only the one whose turn it is may give out blocks.
- The next one's turn comes with a closing of it or of one above: then this one's closings have all been seen. What is
  left of it open is never closed.
- It also needs the next one's retraction, which may come late: before, nobody knows what of this branch is void. What
  is whole is given out all the same, and taken back if it must be. Retractions are one stream: one that has come says
  that those of lower branches have come, or never will.
- A branch begins with its retraction's block. What it says of blocks before is what the branches below have said.
- The lowest branch of which anything is seen before the first block is given out needs no retraction: a reader that
  starts late may have missed it. Nor is anything lost by not waiting: closings come in order, so no block below is
  missing, and a retraction makes void only what is below its branch.

What waits is bounded. Beyond, something was lost or is very late: the lowest block is given out with what is there.
Descriptions that are missing then are not waited for again. A retraction that is missing is taken to be that of the
lowest block that is there of its branch, and no other is taken for it when it comes.
"""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from contracts.values import Address

MarketEvent: TypeAlias = PoolSync | SwapEvent

REPEATED = "repeated"
LATE = "of a block that is done"
VOID = "of a branch that is void"
GIVEN_UP = "of a branch that was not waited for"

_NO_BLOCK = sys.maxsize
"""Above all blocks."""

_KEPT = 256
"""Retractions that are kept of branches whose turn is over, to tell what is void from what is late. Chosen by us."""


class Block(NamedTuple):
    """A block to work through."""

    number: int
    pools: Sequence[PoolMetadata]
    """Those that have been described since the block before, by address."""
    events: Sequence[MarketEvent]
    """By log index, the state before the swap of the same log."""
    missing: str | None
    """What it waited for when it was given up; None if it is whole."""


class TakeBack(NamedTuple):
    """Blocks that were given out are void."""

    number: int
    """The lowest of them: all from here on are."""


class LeftOut(NamedTuple):
    """Messages that had been taken in and will not be given out."""

    cause: str
    events: int
    closings: int


Step: TypeAlias = Block | TakeBack | LeftOut


class _Branch:
    """The blocks of one branch that have not been given out.

    Attributes:
        number: the branch's.
        void_from: the lowest block that a later branch replaces.
        open: the events by block and place.
        unclosed: a heap of the open blocks without a closing.
        next: the open blocks that wait no more for their closing, in order, with the closing if there is one.
        passed: up to here nothing is opened any more.
        given_up: whether its retraction is missing, which its first block is to tell.
    """

    __slots__ = ("given_up", "next", "number", "open", "passed", "unclosed", "void_from")

    def __init__(self, number: int, void_from: int) -> None:
        self.number = number
        self.void_from = void_from
        self.open: dict[int, dict[int, MarketEvent]] = {}
        self.unclosed: list[int] = []
        self.next: deque[tuple[int, BlockClosed | None]] = deque()
        self.passed = -1
        self.given_up = False

    def drop(self, blocks: Collection[int], cause: str) -> LeftOut:
        """Forget open blocks. What they held."""
        events = sum(len(self.open.pop(number)) for number in blocks)
        closings = sum(closed is not None and number not in self.open for number, closed in self.next)
        kept = [entry for entry in self.next if entry[0] in self.open]
        self.next.clear()
        self.next.extend(kept)
        self.unclosed = sorted(number for number in self.unclosed if number in self.open)  # sorted, it is a heap
        return LeftOut(cause, events, closings)


class Blocks:
    """The blocks that are not whole yet.

    Args:
        max_waiting: how many messages may wait for others.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting = 0
        self._known: dict[Address, PoolMetadata] = {}
        self._described: list[PoolMetadata] = []  # since the last block
        self._given_up = 0  # descriptions that are not waited for
        self._is_more = False  # whether there may be steps, or a closing of a branch after the one whose turn it is
        self._turn_to(_Branch(-1, _NO_BLOCK))  # of no chain
        self._branches: dict[int, _Branch] = {}  # from that one on, those of which there is something
        self._newest_closed = -1  # the highest branch of which a closing has come
        self._begun = False  # whether a block has been given out
        self._last = -1  # the block that was given out last and not taken back, or one above
        self._steps: deque[TakeBack | LeftOut] = deque()
        # Those that no later one covers: both blocks and branches rise.
        self._retractions: list[tuple[int, int]] = []
        self._retracted = -1  # the highest branch whose retraction has come
        self._announced = -1  # or is not waited for

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
        events = self._open.get(event.block) if event.branch == self._turn else None
        if events is None:
            number = event.block
            branch = self._branch if event.branch == self._turn else self._branch_at(event.branch, number)
            if number >= (self._void_from(event.branch) if branch is None else branch.void_from):
                return VOID
            if branch is None:
                return LATE
            events = branch.open.get(number)
            if events is None:
                if number <= branch.passed:
                    return LATE
                events = branch.open[number] = {}
                heapq.heappush(branch.unclosed, number)
        place = 2 * event.log_index + (type(event) is SwapEvent)
        if place in events:
            return REPEATED
        events[place] = event
        self._waiting += 1
        return None

    def close(self, closed: BlockClosed) -> str | None:
        """Take in a block's closing. Why it is left out, None if it is not."""
        number = closed.block
        branch = self._branch_at(closed.branch, number)
        if number >= (self._void_from(closed.branch) if branch is None else branch.void_from):
            return VOID
        if branch is None or number <= branch.passed:
            return REPEATED
        unclosed = branch.unclosed
        while unclosed and unclosed[0] < number:
            branch.next.append((heapq.heappop(unclosed), None))
        if unclosed and unclosed[0] == number:
            heapq.heappop(unclosed)
        else:
            branch.open[number] = {}
        branch.next.append((number, closed))
        branch.passed = number
        self._newest_closed = max(self._newest_closed, branch.number)
        self._is_more = self._is_more or branch.number > self._turn
        self._waiting += 1
        return None

    def retract(self, retracted: BlockRetracted) -> str | None:
        """Take in that a branch begins. Why it is left out, None if it is not."""
        if retracted.branch <= self._retracted:
            return REPEATED
        self._retracted = retracted.branch
        if retracted.branch <= self._announced:
            return GIVEN_UP
        self._announce(retracted.block, retracted.branch)
        return None

    def take(self, *, anyway: bool = False) -> Step | None:
        """The lowest block if it is whole, or is waited for no longer; or what has become of others.

        Args:
            anyway: what is there, whole or not.
        """
        anyway = anyway or self._waiting > self._max_waiting
        if not self._next and not anyway and not self._is_more:
            return None
        if not self._steps and not self._next and not self._go_on(anyway=anyway) and not self._steps:
            return None
        if self._steps:
            return self._steps.popleft()
        branch = self._branch
        number, closed = branch.next[0]
        missing: tuple[str, ...] = ()
        if closed is None:
            missing = ("its closing",)
        elif not self._is_whole(branch.open[number], closed):
            if not anyway:
                return None
            missing = self._what_is_missing(branch.open[number], closed)
            self._given_up = max(self._given_up, closed.pools - len(self._known))
        if branch.given_up:
            missing = (*missing, "the retraction before it")
            branch.given_up = False
        branch.next.popleft()
        events = branch.open.pop(number)
        pools, self._described = sorted(self._described, key=_address), []
        self._waiting -= len(events) + len(pools) + (closed is not None)
        self._begun, self._last = True, number
        ordered = [events[place] for place in sorted(events)]
        return Block(number, pools, ordered, ", ".join(missing) if missing else None)

    # --- branches ---------------------------------------------------------------------------------

    def _turn_to(self, branch: _Branch) -> None:
        """Give out the blocks of this branch from now on. What every message needs of it is kept at hand."""
        self._branch = branch
        self._turn, self._open, self._next = branch.number, branch.open, branch.next
        self._is_more = True

    def _branch_at(self, number: int, block: int) -> _Branch | None:
        """A branch to take something of this block in, made if need be; None if it is void or the turn is over."""
        branch = self._branches.get(number)
        if branch is None:
            void_from = self._void_from(number)
            if block >= void_from or (self._begun and number < self._branch.number):
                return None
            branch = self._branches[number] = _Branch(number, void_from)
            if self._branch.number < 0 or number < self._branch.number:
                self._turn_to(branch)
        return branch

    def _void_from(self, branch: int) -> int:
        """The lowest block that a later branch than this one replaces."""
        at = bisect_right(self._retractions, branch, key=_branch_of)
        return self._retractions[at][0] if at < len(self._retractions) else _NO_BLOCK

    def _announce(self, block: int, number: int) -> None:
        """From this block on everything below this branch is void."""
        self._announced = number
        while self._retractions and self._retractions[-1][0] >= block:
            self._retractions.pop()
        self._retractions.append((block, number))
        for branch in [branch for branch in self._branches.values() if branch.number < number]:
            branch.void_from = min(branch.void_from, block)
            self._drop(branch, [open_ for open_ in branch.open if open_ >= block], VOID)
            if not branch.open and branch is not self._branch:
                del self._branches[branch.number]
        if self._begun and self._branch.number < number and self._last >= block:
            self._steps.append(TakeBack(block))
            self._is_more = True
            self._last = block - 1

    def _drop(self, branch: _Branch, blocks: Collection[int], cause: str) -> None:
        if blocks:
            left_out = branch.drop(blocks, cause)
            self._waiting -= left_out.events + left_out.closings
            self._steps.append(left_out)
            self._is_more = True

    def _go_on(self, *, anyway: bool) -> bool:
        """Whether there is a block that waits no more for its closing, in this branch or, if it is done, the next."""
        while not self._branch.next:
            branch = self._branch
            after = min((number for number in self._branches if number > branch.number), default=None)
            is_over = self._newest_closed > branch.number
            if not is_over and not anyway:
                self._is_more = bool(self._steps)
                return False
            if after is not None and after > self._announced and (is_over or not branch.unclosed):
                if not anyway:
                    return False
                self._branches[after].given_up = True
                self._announce(min(self._branches[after].open), after)
            if branch.unclosed:
                number = heapq.heappop(branch.unclosed)
                branch.next.append((number, None))
                branch.passed = max(branch.passed, number)
            elif after is None:
                return False
            else:
                self._begin(self._branches[after])
        return True

    def _begin(self, branch: _Branch) -> None:
        """The turn is this branch's."""
        self._branches.pop(self._branch.number, None)
        self._turn_to(branch)
        before = self._void_from(branch.number - 1)
        branch.passed = max(branch.passed, before - 1)
        self._drop(branch, [number for number in branch.open if number < before], LATE)
        del self._retractions[: bisect_right(self._retractions, branch.number - _KEPT, key=_branch_of)]

    # --- whole or not -----------------------------------------------------------------------------

    def _is_whole(self, events: Collection[int], closed: BlockClosed) -> bool:
        return len(events) >= closed.swaps + closed.syncs and len(self._known) + self._given_up >= closed.pools

    def _what_is_missing(self, events: dict[int, MarketEvent], closed: BlockClosed) -> tuple[str, ...]:
        kinds = Counter(type(event) for event in events.values())
        missing = {
            "SwapEvent": closed.swaps - kinds[SwapEvent],
            "PoolSync": closed.syncs - kinds[PoolSync],
            "PoolMetadata": closed.pools - self._given_up - len(self._known),
        }
        return tuple(f"{number} {kind}" for kind, number in missing.items() if number > 0)


_address = attrgetter("pool")


def _branch_of(retraction: tuple[int, int]) -> int:
    return retraction[1]
