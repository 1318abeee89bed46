"""How many blocks to ask for at a time: nodes limit ranges and answers, each in its own way, and say so too late."""

from __future__ import annotations

LARGEST = 10_000
"""Blocks in one question. Chosen by us: what the most generous public endpoints take."""

GROWTH = 2
PATIENCE = 4
"""Answers in a row after which more is tried."""


class Range:
    """The size of the next question: halved when one is refused as too large, and grown again by and by.

    Args:
        size: to begin with.
        largest: never more.
    """

    def __init__(self, size: int = 512, largest: int = LARGEST) -> None:
        if not 1 <= size <= largest:
            raise ValueError(f"size {size}: must be between 1 and {largest}")
        self.size: int = size
        self._largest = largest
        self._good = 0

    def next(self, first: int, last: int) -> tuple[int, int]:
        """The blocks to ask for next, of those from ``first`` to ``last``, both included."""
        return first, min(last, first + self.size - 1)

    def answered(self) -> None:
        """The question was answered."""
        self._good += 1
        if self._good >= PATIENCE and self.size < self._largest:
            self._good = 0
            self.size = min(self._largest, self.size * GROWTH)

    def refused(self) -> bool:
        """It was too much; False if there is nothing smaller to ask for."""
        self._good = 0
        if self.size == 1:
            return False
        self.size = max(1, self.size // GROWTH)
        return True
