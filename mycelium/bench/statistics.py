"""What is made of figures: pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a message takes, in µs.

    Args:
        p50_us: half of them take no longer.
        p99_us: 99 of 100 take no longer.
    """

    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured of one path.

    Args:
        msg_per_s: from the first message that was sent to the last that came.
        latency: of a message at a time; None where it was not measured.
        broker_rss_mib: what the broker holds in memory, if there is one and the system tells.
    """

    msg_per_s: float
    latency: Latency | None = None
    broker_rss_mib: float | None = None


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` (above 0, up to 1) of all do not exceed: one that was measured.

    Args:
        ordered: at least one value, in ascending order.
        part: 0.5 for the median.

    Raises:
        ValueError: there are no values.
    """
    if not ordered:
        raise ValueError("no values: a percentile needs at least one")
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def half_round_trips(round_trips_ns: Iterable[int]) -> Latency:
    """The latency of one way, from the times that messages took there and back.

    Raises:
        ValueError: there are none.
    """
    halves = sorted(took / 2_000 for took in round_trips_ns)
    return Latency(percentile(halves, 0.5), percentile(halves, 0.99))


def middle(figures: Sequence[Figure]) -> Figure:
    """The median of each figure over the rounds. The median, since a round that was disturbed should not count.

    Raises:
        ValueError: there are no figures.
    """
    if not figures:
        raise ValueError("no figures: a median needs at least one round")
    latencies = [figure.latency for figure in figures if figure.latency is not None]
    sizes = [figure.broker_rss_mib for figure in figures if figure.broker_rss_mib is not None]
    return Figure(
        median(figure.msg_per_s for figure in figures),
        Latency(median(one.p50_us for one in latencies), median(one.p99_us for one in latencies))
        if latencies
        else None,
        median(sizes) if sizes else None,
    )


def next_count(count: int, took: float, seconds: float) -> int:
    """How many messages the next run should have so as to last so long, after one of ``count`` messages.

    It grows at least twofold, since short runs tell little, and at most twentyfold, since what is cold is slow.
    """
    return min(max(round(count / max(took, 1e-9) * seconds), 2 * count), 20 * count)
