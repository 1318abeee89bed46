"""One round of one peer: its processes are started, the path is tried, and then the messages are counted."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.lineup import Peer
from mycelium.bench.machine import cpu_seconds
from mycelium.bench.processes import RoleError, RoleProcess, RoleProcesses

WARM_UP = 2_000
"""Messages that pass before the ones that are counted: imports at first use, allocators and windows of connections
are not what is measured."""

PROBE_SECONDS = 0.1
"""After so long without a sign of it, a probe is sent again: the path was not in force yet."""

TRY_SECONDS = 30.0
"""After so long, it will not come into force any more."""

IDLE_SECONDS = 5.0
"""After so long without a message, what is missing is lost."""

PATIENCE = 600.0
"""How long a round may take."""


@dataclass(frozen=True)
class Round:
    """What came of it.

    Args:
        sent: messages.
        received: messages.
        in_order: each arrived once, in its place.
        seconds: from before the first was encoded until the last was decoded; None if not all arrived.
        cpu_seconds: of all processes together.
    """

    sent: int
    received: int
    in_order: bool
    seconds: float | None
    cpu_seconds: float

    @property
    def rate(self) -> float | None:
        """Messages a second."""
        return None if self.seconds is None else self.sent / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds."""
        return self.cpu_seconds / self.sent * 1e6


def run_round(peer: Peer, messages: int) -> Round:
    """A round in processes of its own, so that none inherits anything from the one before.

    Raises:
        RoleError: a process failed.
    """
    module = f"benchmarks.peers.{peer.module}"
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as directory,
        peer.middle(Path(directory)) as middle,
        RoleProcesses() as processes,
    ):

        def start(role: str) -> RoleProcess:
            name = f"{peer.key} {role}"
            process = RoleProcess.python(module, role, peer.variant, *middle.arguments, name=name)
            processes.add(process).wait_ready()
            return process

        # In this order: where nobody is in the middle, the reader is the one that listens.
        reader, publisher = start("read"), start("publish")
        _try(publisher, reader)
        _pass(publisher, reader, range(WARM_UP))
        pids = (*middle.pids, publisher.pid, reader.pid)
        before = cpu_seconds(pids)
        first, result = _pass(publisher, reader, range(messages))
        spent = cpu_seconds(pids) - before
    complete = result["in_order"]
    return Round(messages, result["received"], complete, result["last"] - first if complete else None, spent)


def _try(publisher: RoleProcess, reader: RoleProcess) -> None:
    """Return when what is published arrives, and the last thing published has: nothing is under way."""
    deadline = time.monotonic() + TRY_SECONDS
    number = 0
    while time.monotonic() < deadline:
        number -= 1
        publisher.ask(f"publish {number} 1")
        if reader.ask(f"heard {number} {PROBE_SECONDS}")["heard"]:
            return
    raise RoleError(reader.name, f"has received nothing in {TRY_SECONDS:g} s")


def _pass(publisher: RoleProcess, reader: RoleProcess, numbers: range) -> tuple[float, dict[str, Any]]:
    """Messages of these numbers: when the first left, and what the reader says."""
    reader.ask(f"expect {numbers.start} {len(numbers)}")
    first = float(publisher.ask(f"publish {numbers.start} {len(numbers)}", seconds=PATIENCE)["first"])
    return first, reader.ask(f"result {IDLE_SECONDS}", seconds=PATIENCE)
