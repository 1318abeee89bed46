"""What the processes of a chaos run note down, so that it is there after they were killed.

A write to a file is with the kernel when it returns: SIGKILL does not take it back. A record that was cut short can
only be the last.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mycelium.bus.subscriber import Delivery
from tests.chaos.messages import Event


class Run(NamedTuple):
    """Consecutive messages of one stream: ``length`` from ``first`` on."""

    publisher: int
    lane: int
    epoch: int
    first: int
    length: int


_RUN = struct.Struct("<HHIQQQ")


class Counter:
    """A number in a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @property
    def value(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    @value.setter
    def value(self, value: int) -> None:
        self._map[:8] = value.to_bytes(8, "little")


class Bits:
    """A byte per message in a file: 1 if it was seen."""

    def __init__(self, path: Path, number: int) -> None:
        if not path.exists():
            path.write_bytes(bytes(number + 1))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), number + 1)


class Seen:
    """What one reader, or all members of a group, have handled. It is the handlers' own check by message id."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        self._read_to = 0
        self._last: dict[tuple[int, int, int], int] = {}
        self.repeated = 0
        """Messages that came again and were not handled again."""

    def handle(self, batch: Iterable[Delivery[Event]]) -> list[Event]:
        """Note a batch. What comes back is new; the rest was handled before."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._catch_up()
            new: list[Event] = []
            runs: list[Run] = []
            for delivery in batch:
                publisher, lane = int(delivery.message.publisher[1:]), int(delivery.message.lane)
                key = (publisher, lane, delivery.epoch)
                if delivery.sequence <= self._last.get(key, 0):
                    self.repeated += 1
                    continue
                self._last[key] = delivery.sequence
                new.append(delivery.message)
                if runs and runs[-1][:3] == key and runs[-1].first + runs[-1].length == delivery.sequence:
                    runs[-1] = runs[-1]._replace(length=runs[-1].length + 1)
                else:
                    runs.append(Run(*key, delivery.sequence, 1))
            data = b"".join(_RUN.pack(run.publisher, run.lane, 0, run.epoch, run.first, run.length) for run in runs)
            os.write(self._file.fileno(), data)
            self._read_to += len(data)
            return new
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Learn what the other members have handled, and cut off what a killed one has left half written."""
        size = os.fstat(self._file.fileno()).st_size
        if size % _RUN.size:
            size -= size % _RUN.size
            os.ftruncate(self._file.fileno(), size)
        for run in _runs(os.pread(self._file.fileno(), size - self._read_to, self._read_to)):
            key = run[:3]
            self._last[key] = max(self._last.get(key, 0), run.first + run.length - 1)
        self._read_to = size


def _runs(data: bytes) -> list[Run]:
    whole = data[: len(data) - len(data) % _RUN.size]
    return [
        Run(publisher, lane, epoch, first, length)
        for publisher, lane, _, epoch, first, length in _RUN.iter_unpack(whole)
    ]


def runs_of(path: Path) -> list[Run]:
    """All that was handled, in the order in which it was."""
    return _runs(path.read_bytes()) if path.exists() else []
