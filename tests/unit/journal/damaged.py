"""A store and its damaged copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mycelium.journal import (
    JournalDamagedError,
    LmdbJournal,
)
from mycelium.journal.disk import DATA, OWNER, examine
from tests.unit.journal.frames import ALL, everything, sample_store

FINE, DAMAGED, WRONG = 0, 1, 2


def facts(directory: Path) -> Any:
    """Everything that a journal says, read with every kind of read."""
    journal = LmdbJournal(directory)
    try:
        streams = []
        for mark in journal.streams():
            start, found = 1, []
            while part := journal.read_stream(mark.stream, start, limit=5, max_bytes=ALL):
                found += part
                start = start + 2 * len(part)
            streams.append((mark, found, journal.latest(mark.stream.topic)))
        times = [journal.position_at(time) for time in range(0, journal.last_position + 2, 5)]
        extents = journal.streams()
        starts = [journal.first_from(extent.stream, at) for extent in extents for at in range(0, 80, 9)]
        accounts = {reader: journal.load_accounts(reader) for reader in journal.readers()}
        known = [journal.knows_reader(f"reader-{number}") for number in range(4)]
        return everything(journal, at_once=10), streams, (times, starts, known), accounts, journal.last_position
    finally:
        journal.close()


def in_child(work: Callable[[], int]) -> int:
    """Do ``work`` in a child: a signal that kills it is told by a negative number."""
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            code = work()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Sample:
    """A sound store and its damaged copies."""

    def __init__(self, base: Path) -> None:
        self.base = base
        sample_store(base / "sound")
        self.data = (base / "sound" / DATA).read_bytes()
        self.owner = (base / "sound" / OWNER).read_bytes()
        self.facts = facts(base / "sound")

    def with_data(self, data: bytes) -> Path:
        directory = self.base / "copy"
        directory.mkdir(exist_ok=True)
        (directory / DATA).write_bytes(data)
        (directory / OWNER).write_bytes(self.owner)
        return directory

    def flipped(self, offset: int, bits: int) -> Path:
        data = bytearray(self.data)
        data[offset] ^= bits
        return self.with_data(bytes(data))

    def without(self, frame: bytes) -> Path:
        """A copy in which a frame is damaged, also where a page that is no longer in use has it."""
        assert frame in self.data
        return self.with_data(self.data.replace(frame, frame[:60] + bytes([frame[60] ^ 1]) + frame[61:]))

    def verdict(self, directory: Path) -> int:
        try:
            return FINE if facts(directory) == self.facts else WRONG
        except JournalDamagedError as error:
            assert error.command.startswith("mycelium journal salvage")
            return DAMAGED


def torn(sample: Sample) -> Path:
    """A copy with a page that is garbled and in use."""
    for page in range(2, len(sample.data) // 4096):
        directory = sample.flipped(page * 4096 + 12, 255)
        examine(directory, thorough=False)
        try:
            examine(directory, thorough=True)
        except JournalDamagedError:
            return directory
    raise AssertionError("no page is in use")
