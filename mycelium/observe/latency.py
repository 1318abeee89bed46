"""A histogram of durations that costs little to fill and nothing to keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Self

_SUB_BITS = 5
_SUB = 1 << _SUB_BITS


class LatencyHistogram:
    """Counts durations in buckets of at most 1/32 (3 %) relative width, exact below 32 ns.

    Log-linear, after HdrHistogram: the highest bit chooses the octave, the next five the bucket in it.
    """

    __slots__ = ("_buckets", "count", "maximum")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count: int = 0
        self.maximum: int = 0

    @classmethod
    def of(cls, buckets: Mapping[int, int], maximum: int) -> Self:
        """A histogram that has these :attr:`buckets` and this longest duration, ns."""
        made = cls()
        made._buckets = dict(buckets)
        made.count = sum(buckets.values())
        made.maximum = maximum
        return made

    @property
    def buckets(self) -> Mapping[int, int]:
        """How many durations are in each bucket that is not empty, by its number."""
        return self._buckets

    def since(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """What was counted after ``earlier``, which is the same histogram at an earlier time.

        The longest duration of it is known as exactly as its bucket.
        """
        grown = {bucket: number - earlier._buckets.get(bucket, 0) for bucket, number in self._buckets.items()}
        buckets = {bucket: number for bucket, number in grown.items() if number > 0}
        longest = min(_upper_bound(max(buckets)), self.maximum) if buckets else 0
        return LatencyHistogram.of(buckets, longest)

    def record(self, nanoseconds: int) -> None:
        """Count one duration. A negative one, from a clock that was set back, counts as 0."""
        value = max(nanoseconds, 0)
        shift = value.bit_length() - _SUB_BITS - 1
        bucket = (shift << _SUB_BITS) + (value >> shift) if shift > 0 else value
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.maximum = max(self.maximum, value)

    def quantile(self, fraction: float) -> int:
        """The duration in ns that ``fraction`` (0 to 1) of all counted ones do not exceed; 0 if none was counted."""
        wanted = fraction * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_upper_bound(bucket), self.maximum)
        return self.maximum

    def up_to(self, bounds: Sequence[int]) -> list[int]:
        """How many of the counted durations are at most each of ``bounds``, which are ns and rise.

        A bucket that a bound cuts in two counts as longer than it: nothing is shown as quicker than it was.
        """
        ending = [0] * (len(bounds) + 1)
        for bucket, number in self._buckets.items():
            ending[bisect_left(bounds, _upper_bound(bucket))] += number
        counts, seen = [], 0
        for number in ending[:-1]:
            seen += number
            counts.append(seen)
        return counts

    @property
    def total(self) -> float:
        """All counted durations together, ns, from the middles of the buckets: to within 1/64 (2 %)."""
        return sum(
            number * (_upper_bound(bucket - 1) + 1 + _upper_bound(bucket)) / 2
            for bucket, number in self._buckets.items()
        )

    def add(self, other: LatencyHistogram) -> None:
        """Count everything that ``other`` has counted."""
        for bucket, number in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + number
        self.count += other.count
        self.maximum = max(self.maximum, other.maximum)


def _upper_bound(bucket: int) -> int:
    """The largest value of a bucket."""
    shift = (bucket >> _SUB_BITS) - 1
    if shift <= 0:
        return bucket
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1
