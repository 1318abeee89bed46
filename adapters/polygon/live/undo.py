"""What pools were before the newest blocks, so that blocks can be taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from adapters.polygon.pools import PoolBook, PoolState
from contracts.values import Address


class Undo:
    """Remembers the states that blocks have replaced.

    Args:
        book: whose states.
        remembered: how many blocks can be taken back.
    """

    def __init__(self, book: PoolBook, remembered: int) -> None:
        self._book = book
        self._blocks: deque[tuple[int, dict[Address, PoolState]]] = deque(maxlen=remembered)

    def load(self, numbers: Iterable[int], states: Mapping[Address, Sequence[tuple[int, PoolState]]]) -> None:
        """Take over what a cursor holds.

        Args:
            numbers: of the blocks that can be taken back, in order.
            states: of each pool, after which block it was in which state, oldest first.
        """
        replaced: dict[int, dict[Address, PoolState]] = {number: {} for number in numbers}
        for pool, changes in states.items():
            before: PoolState = None
            for number, state in changes:
                if number in replaced:
                    replaced[number][pool] = before
                before = state
            self._book.set_state(pool, before)
        self._blocks.extend(sorted(replaced.items()))

    def begin(self, number: int) -> None:
        """A block begins: what :meth:`before` is told belongs to it."""
        self._blocks.append((number, {}))

    def before(self, pool: Address) -> None:
        """A pool of the block that has begun is about to change."""
        replaced = self._blocks[-1][1]
        if pool not in replaced:
            replaced[pool] = self._book.state(pool)

    def changed(self) -> dict[Address, PoolState]:
        """What the pools that the newest block has changed are in now."""
        return {pool: self._book.state(pool) for pool in self._blocks[-1][1]}

    def back_to(self, block: int) -> None:
        """Let all pools be again what they were before a block."""
        while self._blocks and self._blocks[-1][0] >= block:
            for pool, state in self._blocks.pop()[1].items():
                self._book.set_state(pool, state)
        self._book.back_to(block - 1)
