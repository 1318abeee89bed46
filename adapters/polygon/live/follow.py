"""Follows the blocks of a chain: each once, in order, and taken back when the chain goes another way.

Theory of operation. A chain's newest blocks are an opinion: another branch may replace them (a reorganisation). So
blocks are known by their hash, and every one that is given out is the child of the one before. To get to a new head,
the follower walks from it back over the parents' hashes until it meets a block that it has given out. Blocks above that
one are taken back, newest first; then those of the way are given out, oldest first. Logs are asked for by the hash of
their block: an endpoint that is on another branch does not have it, and says so, instead of giving others.

What is far behind the head is read in ranges by number, which is much faster. A branch does not change there: the
range ends ``NEAR`` blocks below the head, and the last block of a range is checked to be an ancestor's child by walking
from there by hash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from adapters.polygon.live.headers import Header
from adapters.polygon.logs import Log
from mycelium.core.errors import MyceliumError

NEAR = 64
"""Blocks below the head that are walked by hash. Polygon's deepest reorganisations since 2023 were below 32 blocks."""


class ChainError(MyceliumError):
    """What an endpoint said does not fit: it lags, is on another branch, or lies. Another one may do better.

    Args:
        reason: what is wrong.
        is_passing: whether nobody answered, which says nothing of the chain.
        is_refused: whether it is nothing that endpoints answer.
    """

    def __init__(self, reason: str, *, is_passing: bool = False, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_passing = is_passing
        self.is_refused = is_refused


class DeepReorganisation(MyceliumError):  # noqa: N818 - it names what happened
    """The chain has left the blocks that are remembered: nothing that was given out can be relied on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A block is part of the chain.

    Args:
        header: the block's.
        logs: those that are wanted, by log index.
    """

    header: Header
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Undone:
    """A block that was opened is not part of the chain any more.

    Args:
        header: the block's.
    """

    header: Header


Step: TypeAlias = Opened | Undone


class Chain(Protocol):
    """A chain, as endpoints tell it."""

    async def header(self, block_hash: bytes) -> Header:
        """A header by its hash.

        Raises:
            ChainError: no endpoint has it.
        """
        ...

    async def header_at(self, number: int) -> Header:
        """The header that is canonical at a height.

        Raises:
            ChainError: no endpoint has it.
        """
        ...

    async def logs_of(self, header: Header) -> Sequence[Log]:
        """All wanted logs of a block.

        Raises:
            ChainError: no endpoint has it.
        """
        ...

    async def blocks_between(self, first: int, last: int) -> Sequence[tuple[Header, Sequence[Log]]]:
        """The blocks of some heights, both included, that have wanted logs, and the last one in any case.

        Raises:
            ChainError: no endpoint has them.
        """
        ...


class Follower:
    """Where somebody is in a chain.

    Args:
        chain: asked for what is needed.
        done: the newest blocks that have been given out before, oldest first, each the child of the one before; at
            least one.
        remembered: how many blocks can be taken back.
        confirmations: how many blocks must stand on a block before it is given out.
        range_size: how many blocks of what is far behind are read at a time.
    """

    def __init__(
        self,
        chain: Chain,
        done: Iterable[Header],
        *,
        remembered: int = 256,
        confirmations: int = 0,
        range_size: int = 512,
    ) -> None:
        self._chain = chain
        self._done: deque[Header] = deque(done, maxlen=remembered)
        if not self._done:
            raise ValueError("a follower begins at a block")
        self._confirmations = confirmations
        self._range_size = range_size
        self.deepest: int = 0
        """The most blocks that were taken back at once."""

    @property
    def last(self) -> Header:
        """The newest block that has been given out and not taken back."""
        return self._done[-1]

    async def to(self, head: Header) -> AsyncIterator[Step]:
        """The steps from where it is to a head.

        What was given out before an error counts: asked again, it goes on from there.

        Raises:
            ChainError: an endpoint said what does not fit.
            DeepReorganisation: the chain has left all blocks that are remembered.
        """
        while head.number - self._confirmations - self.last.number > NEAR:
            async for step in self._far(head):
                yield step
        async for step in self._near(head):
            yield step

    async def _far(self, head: Header) -> AsyncIterator[Step]:
        """One range of what is far behind the head."""
        last = self.last
        # Before anything is built on it: is it still there?
        if (await self._chain.header_at(last.number)).hash != last.hash:
            async for step in self._back_to_chain():
                yield step
            return
        first = last.number + 1
        until = min(head.number - self._confirmations - NEAR, last.number + self._range_size)
        for header, logs in await self._chain.blocks_between(first, until):
            if not self.last.number < header.number <= until:
                raise ChainError(f"block {header.number} came for blocks {self.last.number + 1} to {until}")
            # Blocks without logs are left out, so parents are not known here; the end is looked at below.
            self._done.append(header)
            yield Opened(header, _in_order(header, logs))
        if self.last.number != until:
            raise ChainError(f"blocks {first} to {until} were asked for, the last one is missing")

    async def _back_to_chain(self) -> AsyncIterator[Step]:
        """Take back what is not part of the chain any more, when that is found out late."""
        while (await self._chain.header_at(self.last.number)).hash != self.last.hash:
            yield self._undo()

    async def _near(self, head: Header) -> AsyncIterator[Step]:
        """Walk by hash."""
        way = await self._way_to(head)
        way = way[: max(0, len(way) - self._confirmations)]
        if not way:
            return
        undone = 0
        while self.last.hash != way[0].parent:
            yield self._undo()
            undone += 1
        self.deepest = max(self.deepest, undone)
        for header in way:
            logs = _in_order(header, await self._chain.logs_of(header))
            self._done.append(header)
            yield Opened(header, logs)

    async def _way_to(self, head: Header) -> list[Header]:
        """The blocks from the newest common one, which is not among them, to a head."""
        way = [head]
        if head.parent == self.last.hash:
            return way  # nearly always
        known = {header.hash for header in self._done}
        if head.hash in known:
            return []
        while way[-1].parent not in known:
            if way[-1].number <= self._done[0].number + 1:
                oldest = self._done[0]
                if (await self._chain.header_at(oldest.number)).hash == oldest.hash:
                    raise ChainError(f"block {way[-1].number} stands beside the chain: its parent is no block of it")
                raise DeepReorganisation(
                    f"block {way[-1].number} does not stand on any of the {len(self._done)} blocks that are remembered"
                )
            parent = await self._chain.header(way[-1].parent)
            if parent.hash != way[-1].parent or parent.number != way[-1].number - 1:
                raise ChainError(f"the parent of block {way[-1].number} came as block {parent.number}, another one")
            way.append(parent)
        way.reverse()
        return way

    def _undo(self) -> Undone:
        if len(self._done) == 1:
            raise DeepReorganisation(f"block {self.last.number} and all before it that are remembered are gone")
        return Undone(self._done.pop())


def _in_order(header: Header, logs: Sequence[Log]) -> tuple[Log, ...]:
    found = tuple(sorted(logs, key=lambda log: log.log_index))
    for log in found:
        if log.block != header.number or log.removed:
            raise ChainError(f"block {header.number} came with a log of block {log.block}")
    if len({log.log_index for log in found}) != len(found):
        raise ChainError(f"block {header.number} came with two logs of one index")
    return found
