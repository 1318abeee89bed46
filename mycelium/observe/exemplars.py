"""Which traces stand behind a histogram: the last traced message in each bucket."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

BOUNDS_NS = (*(step * 10**power for power in range(2, 9) for step in (10, 25, 50)), 10**10)
"""Of the buckets of histograms: from 1 µs to 10 s, three to a decade as the libraries of Prometheus have it."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One duration and its trace.

    Args:
        trace_id: 128 bits.
        nanoseconds: the duration.
        time: when the message was published, ns since the Unix epoch.
    """

    trace_id: int
    nanoseconds: int
    time: int


class Exemplars:
    """The last exemplar in each of the buckets that :data:`BOUNDS_NS` end, and in the one beyond."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[int, Exemplar] = {}

    def __len__(self) -> int:
        return len(self._last)

    def note(self, nanoseconds: int, trace_id: int, time: int) -> None:
        """Keep one, in the place of the last one in its bucket. See :class:`Exemplar`."""
        value = max(nanoseconds, 0)
        self._last[bisect_left(BOUNDS_NS, value)] = Exemplar(trace_id, value, time)

    def of_bucket(self, number: int) -> Exemplar | None:
        """The one in a bucket, counted from 0."""
        return self._last.get(number)
