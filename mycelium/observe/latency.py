"""A histogram of durations that costs little to fill and nothing to keep."""

from __future__ import annotations

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
