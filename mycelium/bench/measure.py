"""Measures paths, one after the other, in rounds.

Theory of operation. Each round measures each path anew, with processes of its own, so that what disturbs the machine
for a while meets all of them alike; the median over the rounds counts. The rate comes from runs that grow until one
lasts long enough: that one counts, and those before warm up. A run in which a message was lost gives no rate.
The latency is measured after that, on the same processes, when nothing else is under way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mycelium.bench.machine import Machine, resident_mib, this_machine
from mycelium.bench.paths import PATHS, Ends, Key, MeasuredPath
from mycelium.bench.processes import PATIENCE, RoleError, RoleProcesses
from mycelium.bench.statistics import Figure, Latency, middle, next_count
from mycelium.core.errors import MyceliumError
from mycelium.journal.disk import DATA

FIRST_COUNT = 1_000
"""Messages of the first run."""

LONG_ENOUGH = 0.7
"""Part of the time asked for: a run that lasts so long counts."""

ROUND_TRIPS_PER_S = 4_000
"""Round trips for each second asked for: 99 of 100 says something when there are thousands."""

WARM_UP = 0.1
"""Part of the round trips that is made before, and does not count."""


class LossError(MyceliumError):
    """Messages were lost, or came out of order: there is no rate of such a run.

    Args:
        key: the path.
        sent: how many were sent.
        received: how many came.
    """

    def __init__(self, key: str, sent: int, received: int) -> None:
        if received == sent:
            what = f"{sent:,} messages were sent and came, but not in order"
        else:
            what = f"{received:,} of {sent:,} messages came"
        super().__init__(f"{key}: {what}; no rate is given of such a run")
        self.key = key
        self.sent = sent
        self.received = received


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Args:
        figures: by path.
        machine: where.
    """

    figures: Mapping[Key, Figure]
    machine: Machine

    @property
    def ratios(self) -> dict[str, float]:
        """The rate of each path to that of what it is compared with, where both were measured."""
        return {
            f"{key}/{path.floor}": self.figures[key].msg_per_s / self.figures[path.floor].msg_per_s
            for key, path in PATHS.items()
            if path.floor is not None and key in self.figures and path.floor in self.figures
        }

    @property
    def broker_rss_mib(self) -> float | None:
        """What the broker holds in memory: of path tcp, or where that was not measured, the most of the others."""
        if Key.TCP in self.figures:
            return self.figures[Key.TCP].broker_rss_mib
        sizes = [figure.broker_rss_mib for figure in self.figures.values() if figure.broker_rss_mib is not None]
        return max(sizes, default=None)


def measure(keys: Iterable[Key], *, seconds: float, rounds: int, begins: Callable[[int, Key], None]) -> Report:
    """Measure paths.

    Args:
        keys: which.
        seconds: how long the run lasts that gives a rate, about.
        rounds: how often.
        begins: told of each round, from 0, and path, before it is measured.

    Raises:
        RoleError: a process failed.
        LossError: messages were lost.
    """
    machine = this_machine()
    found: dict[Key, list[Figure]] = {key: [] for key in keys}
    for number in range(rounds):
        for key, figures in found.items():
            begins(number, key)
            figures.append(measure_once(key, seconds))
    return Report({key: middle(figures) for key, figures in found.items()}, machine)


def measure_once(key: Key, seconds: float) -> Figure:
    """Measure a path in processes that are started for it, and end after.

    Raises:
        RoleError: a process failed.
        LossError: messages were lost.
    """
    path = PATHS[key]
    try:
        # A short prefix: the paths of ipc sockets end at 107 characters.
        with tempfile.TemporaryDirectory(prefix="my-") as directory, RoleProcesses() as processes:
            ends = path.open(processes, Path(directory))
            rate = _rate(key, path, ends, seconds)
            size = None if ends.broker is None else resident_mib(ends.broker.pid, DATA)
            return Figure(rate, _latency(ends, seconds) if path.has_latency else None, size)
    except RoleError as error:
        raise RoleError(f"{key}: {error.role}", error.reason, error.said) from None


def _rate(key: Key, path: MeasuredPath, ends: Ends, seconds: float) -> float:
    count = FIRST_COUNT
    while True:
        run = _run(path, ends, count, PATIENCE + 10 * seconds)
        if run["received"] != count or run["last"] != count - 1:
            raise LossError(key, count, run["received"])
        took: float = run["ended"] - run["started"]
        if took >= LONG_ENOUGH * seconds:
            return count / took
        count = next_count(count, took, seconds)


def _run(path: MeasuredPath, ends: Ends, count: int, patience: float) -> dict[str, Any]:
    if ends.near is ends.far:
        return ends.near.ask(f"both - {count}", seconds=patience)
    ends.far.tell(f"read {path.read} {count}")
    ends.near.tell(f"publish {path.publish} {count}")
    return ends.near.answer(seconds=patience) | ends.far.answer(seconds=patience)


def _latency(ends: Ends, seconds: float) -> Latency:
    count = max(round(ROUND_TRIPS_PER_S * seconds), 100)
    for part in (max(round(WARM_UP * count), 10), count):
        ends.far.tell(f"echo {part}")
        answer = ends.near.ask(f"ping {part}", seconds=PATIENCE + 10 * seconds)
        ends.far.answer()
    return Latency(answer["p50_us"], answer["p99_us"])
