"""What a broker holds and uses as time goes by: one publisher, one reader, and a journal that is full long before."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scaling.measure import Side, open_shape
from benchmarks.scaling.shapes import Shape
from mycelium.bench.machine import resident_mib
from mycelium.bench.processes import PATIENCE, RoleProcesses
from mycelium.journal.disk import DATA

JOURNAL_BYTES = 64 << 20
"""What the broker may keep. Chosen by us: a third of what ten million small messages take in it, so that it throws away
messages for most of the time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The broker, or the proxy, after so many messages.

    Args:
        messages: since its start.
        rss_mib: what it holds in memory, beside the journal's pages; None where the system does not tell.
        journal_mib: what its journal takes on the disk; 0 for the proxy.
        cpu_per_million: CPU seconds that it used for each million since the sample before.
        delivered_per_s: the rate since then.
    """

    messages: int
    rss_mib: float | None
    journal_mib: float
    cpu_per_million: float
    delivered_per_s: float


def measure_memory(side: Side, *, messages: int, samples: int, begins: Callable[[int], None]) -> list[Sample]:
    """Let messages pass, and look at the process in the middle again and again.

    Args:
        side: whose process it is.
        messages: how many pass.
        samples: how often it is looked at, at equal distances.
        begins: told how many have passed, before others do.

    Raises:
        DisorderError: messages were lost or out of order.
        RoleError: a process failed.
    """
    each = max(1, messages // samples)
    found: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="my-") as name, RoleProcesses() as processes:
        directory = Path(name)
        opened = open_shape(side, Shape(), processes, directory, journal_bytes=JOURNAL_BYTES)
        for number in range(samples):
            begins(number * each)
            _, figure = opened.run(each, PATIENCE + each / 10_000)
            found.append(
                Sample(
                    (number + 1) * each,
                    resident_mib(opened.middle.pid, DATA),
                    _taken_mib(directory),
                    figure.middle_cpu_per_million,
                    figure.delivered_per_s,
                )
            )
    return found


def _taken_mib(directory: Path) -> float:
    """What is on the disk: a file of LMDB is as long as it may become, and has blocks where there is something."""
    return sum(path.stat().st_blocks for path in directory.rglob(DATA)) * 512 / 2**20
