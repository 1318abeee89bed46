"""Which messages begin a trace.

A message that is published while a traced one is handled belongs to the trace of that one, always. Another one begins
a trace by chance, and not if it is published while one is handled that was left out: its part of the story would have
no beginning. But what a topic of its own ratio carries is looked at for its own sake.

A span costs some 100 µs of CPU until it has left. So that a burst of a million messages does not become one of ten
thousand traces, no more begin within a second than the settings say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mycelium.core.topics import Pattern

SECOND_NS = 1_000_000_000
NEVER = 1 << 62
"""More messages than a stream will ever have."""


@dataclass(frozen=True)
class Ratios:
    """How many of the messages of which topics begin a trace.

    Args:
        ratio: of all topics that ``topics`` does not name, 0 to 1.
        per_second: traces that may begin within a second, in this process.
        topics: ratios of the topics that match a pattern. The first match applies.
    """

    ratio: float = 0.01
    per_second: int = 50
    topics: tuple[tuple[Pattern, float], ...] = ()


class Sampler:
    """Decides which messages begin a trace.

    Args:
        ratios: how many.
        random: a number from 0 to below 1, another one each time.
    """

    def __init__(self, ratios: Ratios, random: Callable[[], float]) -> None:
        self._ratios = ratios
        self._random = random
        self._own = lru_cache(maxsize=8_192)(self._find)
        self._second = -1
        self._begun = 0
        self.held_back: int = 0
        """Traces that did not begin since there were too many within a second."""

    def own_ratio(self, topic: str) -> float | None:
        """The ratio of a topic that has one of its own."""
        return self._own(topic)

    def _find(self, topic: str) -> float | None:
        return next((ratio for pattern, ratio in self._ratios.topics if pattern.matches(topic)), None)

    def gap(self, topic: str) -> int:
        """How many messages of a topic from now until the next that may begin a trace, from 1.

        Geometrically distributed: the same as throwing a die for each, without throwing it. Source: Devroye,
        Non-Uniform Random Variate Generation (1986), X.2.
        """
        own = self._own(topic)
        ratio = self._ratios.ratio if own is None else own
        if ratio >= 1:
            return 1
        if ratio <= 0:
            return NEVER
        return min(NEVER, 1 + int(math.log(1 - self._random()) / math.log1p(-ratio)))

    def chooses(self) -> bool:
        """Whether a piece of work that is about to begin is to be traced, by chance."""
        return self._random() < self._ratios.ratio

    def admits(self, time: int) -> bool:
        """Whether one more trace may begin now, ns since the Unix epoch. It counts as begun then."""
        second = time // SECOND_NS
        if second != self._second:
            self._second, self._begun = second, 0
        if self._begun >= self._ratios.per_second:
            self.held_back += 1
            return False
        self._begun += 1
        return True
