"""Starts the processes of a shape, on either side, and measures them.

Theory of operation. Runs grow until one lasts long enough: that one counts, and those before warm up and open every
topic. A run goes from the first message that left to the last that came, at whichever process. The CPU time is that of
all processes between the moment before and the one after, also what they do to say when they are through.
"""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.scaling.raw import RawWiring
from benchmarks.scaling.shapes import DisorderError, Part, Shape, parts_of
from benchmarks.scaling.typed import TypedWiring
from mycelium.bench.machine import cpu_seconds
from mycelium.bench.measure import FIRST_COUNT, LONG_ENOUGH
from mycelium.bench.paths import start_broker, start_proxy
from mycelium.bench.processes import PATIENCE, RoleProcess, RoleProcesses
from mycelium.bench.statistics import next_count


class Side(enum.StrEnum):
    """Who carries the messages."""

    OURS = "mycelium"
    FLOOR = "zeromq"
    """pyzmq alone through ``zmq.proxy``, one message a send."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured of a shape.

    Args:
        delivered_per_s: messages that readers got, of all readers together.
        cpu_per_million: CPU seconds of all processes for a million of these.
        middle_cpu_per_million: the broker's or the proxy's part.
    """

    delivered_per_s: float
    cpu_per_million: float
    middle_cpu_per_million: float


@dataclass(frozen=True, slots=True)
class Opened:
    """The processes of a shape.

    Args:
        name: what errors call it.
        shape: it.
        publishers: that publish.
        readers: that read.
        middle: the broker or the proxy.
    """

    name: str
    shape: Shape
    publishers: Sequence[RoleProcess]
    readers: Sequence[RoleProcess]
    middle: RoleProcess

    def run(self, count: int, seconds: float) -> tuple[float, Figure]:
        """Let every publisher publish so many messages: how long it took, and what that comes to.

        Args:
            count: of each publisher.
            seconds: that it may take.

        Raises:
            DisorderError: messages were lost or out of order.
            RoleError: a process failed, or has waited in vain for messages.
        """
        processes = (self.middle, *self.publishers, *self.readers)
        before = [cpu_seconds([process.pid]) for process in processes]
        for reader in self.readers:
            reader.tell(f"read {count * self.shape.publishers}")
        for publisher in self.publishers:
            publisher.tell(f"publish {count}")
        started = min(publisher.answer(seconds=seconds)["started"] for publisher in self.publishers)
        answers = [reader.answer(seconds=seconds) for reader in self.readers]
        used = [cpu_seconds([process.pid]) - ago for process, ago in zip(processes, before, strict=True)]
        delivered = count * self.shape.publishers * self.shape.readers
        check_all_came(self.name, delivered, answers)
        took = max(answer["ended"] for answer in answers) - started
        millions = delivered / 1e6
        return took, Figure(delivered / took, sum(used) / millions, used[0] / millions)


def check_all_came(name: str, sent: int, answers: Sequence[dict[str, Any]]) -> None:
    """Hold what readers have answered to what was sent.

    Raises:
        DisorderError: messages were lost or out of order.
    """
    received, wrong = (sum(answer[word] for answer in answers) for word in ("received", "wrong"))
    if received != sent or wrong:
        raise DisorderError(name, sent, received, wrong)


def start_typed(processes: RoleProcesses, part: Part, wiring: TypedWiring) -> RoleProcess:
    """Start a process that uses the fabric; it need not be ready when this returns."""
    return _start(processes, "typed", part, wiring)


def start_raw(processes: RoleProcesses, part: Part, wiring: RawWiring) -> RoleProcess:
    """Start one that uses ZeroMQ alone."""
    return _start(processes, "raw", part, wiring)


def _start(processes: RoleProcesses, module: str, part: Part, wiring: TypedWiring | RawWiring) -> RoleProcess:
    said = (msgspec.json.encode(what).decode() for what in (part, wiring))
    return processes.add(RoleProcess.python(f"benchmarks.scaling.{module}", *said, name=part.name))


def open_shape(
    side: Side, shape: Shape, processes: RoleProcesses, directory: Path, *, journal_bytes: int | None = None
) -> Opened:
    """Start everything, and return when all are wired.

    Raises:
        RoleError: a process failed.
    """
    publish, read = parts_of(shape)
    if side is Side.OURS:
        middle, address = start_broker(processes, directory, journal_bytes=journal_bytes)
        typed = TypedWiring((address,))
        readers = [start_typed(processes, part, typed) for part in read]
        publishers = [start_typed(processes, part, typed) for part in publish]
    else:
        middle, front, back = start_proxy(processes)
        raw = RawWiring(front, back, awaits=tuple(range(shape.readers)))
        readers = [start_raw(processes, part, raw) for part in read]
        publishers = [start_raw(processes, part, raw) for part in publish]
    for process in (*readers, *publishers):
        process.wait_ready()
    return Opened(f"{side}, {shape}", shape, publishers, readers, middle)


def measure_shape(side: Side, shape: Shape, seconds: float) -> Figure:
    """Measure a shape in processes that are started for it, and end after.

    Args:
        side: who carries the messages.
        shape: how many of everything.
        seconds: that the run lasts that counts, about.

    Raises:
        DisorderError: messages were lost or out of order.
        RoleError: a process failed.
    """
    # A short prefix: the paths of ipc sockets end at 107 characters.
    with tempfile.TemporaryDirectory(prefix="my-") as directory, RoleProcesses() as processes:
        opened = open_shape(side, shape, processes, Path(directory))
        patience = PATIENCE + 10 * seconds
        count = max(FIRST_COUNT // shape.publishers, shape.cycle)
        took, _ = opened.run(count, patience)
        while True:
            count = next_count(count, took, seconds)
            took, figure = opened.run(count, patience)
            if took >= LONG_ENOUGH * seconds:
                return figure
