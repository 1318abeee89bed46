"""The memory of a broker: many publishers, readers and topics, and a reader that is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.bench.machine import resident_mib
from mycelium.journal.disk import DATA
from tests.processes.running import Processes, Running, processes

pytestmark = pytest.mark.process

WHOLE = "MEMORY_MESSAGES" in os.environ
"""``make memory``; CI runs a small form."""

MANY, LANES, IN_ONE_PROCESS = (200, 25, 50) if WHOLE else (60, 20, 30)
"""So many publishers and as many readers, with so many topics each; how many there are in a process."""

MESSAGES = int(os.environ.get("MEMORY_MESSAGES", "12000"))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def megabytes(broker: Running) -> float:
    """What it holds beside the journal's pages."""
    held = resident_mib(broker.process.pid, DATA)
    assert held is not None, "the system does not tell"
    return held


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("sockets", "limit"),
    [
        ("shared", 100 if WHOLE else 70),
        # As if each were a process of its own: 800 connections, each with some 50 kB in libzmq's queues and buffers.
        pytest.param("own", 125, marks=pytest.mark.skipif(not WHOLE, reason="for `make memory`")),
    ],
)
def test_many_publishers_readers_and_topics(started: Processes, sockets: str, limit: int) -> None:
    address = started.configure()
    broker = started.broker()
    at = (address.frames, address.control, address.publish)
    before = megabytes(broker)

    def start(role: str) -> list[Running]:
        made = [
            started.start("tests.processes.load", role, sockets, *at, first, first + IN_ONE_PROCESS, LANES, MANY)
            for first in range(0, MANY, IN_ONE_PROCESS)
        ]
        for process in made:
            process.wait_for("ready")
        return made

    readers, publishers = start("r"), start("p")
    each = MESSAGES // (MANY * LANES)
    for process in readers:
        process.tell(f"read {each * LANES}")
    for process in publishers:
        process.tell(f"publish {each} 60")
    for process in publishers:
        process.wait_for("done", seconds=300)
    published = megabytes(broker)
    for process in readers:
        process.wait_for("done", seconds=300)
    read = megabytes(broker)
    print(f"{sockets} sockets: {before:.0f} MB at the start, {published:.0f} when published, {read:.0f} when read")  # noqa: T201
    assert max(published, read) < limit


def test_a_reader_that_is_stopped(started: Processes) -> None:
    """What it misses waits in the journal, and not in a queue."""
    address = started.configure()
    broker = started.broker()
    reader = started.start("tests.processes.reader", "r", address.frames, address.control, address.publish)
    reader.wait_for("ready")
    publisher = started.publisher("p", address)
    publisher.ask("each 1 1000 200")
    publisher.ask("flush")
    reader.ask("read 1000")
    before = megabytes(broker)
    reader.send(signal.SIGSTOP)
    publisher.tell("each 1001 40000 200")
    publisher.wait_for("done", seconds=120)
    publisher.ask("flush")
    assert megabytes(broker) - before < 20
    reader.send(signal.SIGCONT)
    reader.tell("read 40000")
    assert reader.wait_for("done", seconds=120) == "done 0\n"
    assert megabytes(broker) - before < 20
