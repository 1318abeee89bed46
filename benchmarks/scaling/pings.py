"""What both sides have in common that ping, and that publish at a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mycelium.bench.statistics import percentile

LAST = -1
"""Number of the message that says that there are no more to answer."""

STEP_SECONDS = 0.001
"""How often messages leave that are published at a rate: markets do not wait for ten milliseconds and then speak all
at once."""

WARM_UP_SECONDS = 0.3
"""Round trips of this time do not count."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of half round trips, in µs.

    Args:
        count: how many there were.
        p50_us: half of them took no longer.
        p99_us: 99 of 100 took no longer.
        p999_us: 999 of 1,000 took no longer.
    """

    count: int
    p50_us: float
    p99_us: float
    p999_us: float


def half_round_trips(took_ns: Sequence[int]) -> Quantiles:
    """From the times that messages took there and back.

    Raises:
        ValueError: there are none.
    """
    halves = sorted(took / 2_000 for took in took_ns)
    return Quantiles(len(halves), *(percentile(halves, part) for part in (0.5, 0.99, 0.999)))


def pings_told(took_ns: Sequence[int]) -> dict[str, float]:
    """As a process that pings answers it."""
    return asdict(half_round_trips(took_ns))
