"""Writes a recording: frames into a journal, what it is of, and what is missing of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from mycelium.cli.recording import (
    DESCRIPTION,
    Description,
    Lacks,
    Losses,
    RecordedContract,
    RecordedPlace,
    write_whole,
)
from mycelium.cli.tap import time_of
from mycelium.cli.tapped import iso
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import ConfigError, MyceliumError, Problem
from mycelium.journal import Entry, JournalDamagedError, JournalError, JournalFullError, LmdbJournal
from mycelium.transport.gathering import Loss

READ_AT_ONCE = 1_000
MAX_READ_BYTES = 16 << 20
"""What is read of a journal at once."""


class Halted(MyceliumError):  # noqa: N818 - it says what was asked for, not that something is wrong
    """Something is missing, and the recording was to end then."""


class Recorder:
    """Writes a recording.

    Args:
        directory: where.
        description: what it is.
        lacks: what is known to be missing.
        max_bytes: what the journal may take.
        halts: whether a loss ends it.
        resumes: whether stores were asked before where to begin.

    Raises:
        ConfigError: the directory cannot be used.
        JournalFullError: the disk is full.
    """

    def __init__(
        self, directory: Path, description: Description, lacks: Lacks, max_bytes: int, *, halts: bool, resumes: bool
    ) -> None:
        self._directory = directory
        self._description = description
        self._halts = halts
        self.losses: Losses = Losses(directory, lacks)
        self.names: dict[int, str] = {int(one, 16): name for one, name in description.sources.items()}
        self.taken: int = 0
        """Messages that were recorded now."""
        self._is_new = not directory.exists()
        try:
            if self._is_new:
                directory.mkdir(parents=True)
                self.losses.write()
        except OSError as error:
            raise ConfigError([Problem(str(directory), "", f"cannot be made: {error.strerror}")]) from None
        try:
            self._journal = LmdbJournal(directory, max_bytes=max_bytes)
        except (JournalFullError, JournalDamagedError):
            raise
        except JournalError as error:
            raise ConfigError([Problem(str(directory), "", error.reason)]) from None
        if not self._is_new:
            self.losses.write()  # not before: another recorder could have it
        self._places = {
            StreamKey(int(place.source, 16), int(place.epoch), place.topic): place.after for place in description.places
        }
        self._total = ""
        self._before = _messages_in(self._journal) if resumes else 0

    @property
    def reached(self) -> dict[StreamKey, int]:
        """How far it has come before, by stream."""
        found = dict(self._places)
        for extent in self._journal.streams():
            found[extent.stream] = max(extent.last, found.get(extent.stream, 0))
        for stream, last in self.losses.reached.items():
            found[stream] = max(last, found.get(stream, 0))
        return found

    @property
    def contracts(self) -> Mapping[str, RecordedContract]:
        """Those that are recorded, by type id."""
        return self._description.contracts

    @property
    def stores(self) -> Mapping[str, int]:
        """Those that have said where to begin, and which instance it was."""
        return {name: int(instance) for name, instance in self._description.stores.items()}

    @property
    def begun_ns(self) -> int:
        """When it has begun, ns since the Unix epoch."""
        return time_of(self._description.begun[:26] + "Z")

    @property
    def untouched(self) -> bool:
        """Whether there was no such recording, and nothing has come of it."""
        return self._is_new and not self._description.stores

    def remove(self) -> None:
        """Leave nothing behind of a recording that has not begun."""
        self._journal.close()
        for file in self._directory.iterdir():
            file.unlink()
        self._directory.rmdir()

    def begun(self, store: str, instance: int, places: Mapping[StreamKey, int]) -> None:
        """A store has said where it begins."""
        self._places.update(places)
        written = tuple(
            RecordedPlace(stream.topic, f"{stream.source:016x}", str(stream.epoch), after)
            for stream, after in self._places.items()
        )
        self._describe(places=written, stores={**self._description.stores, store: str(instance)})

    def take(self, frames: list[Frame]) -> None:
        """Keep frames."""
        now = time.time_ns()
        self._journal.append([Entry(frame.stream, frame.sequence, frame.count, now, frame.data) for frame in frames])
        self.taken += sum(frame.count for frame in frames)

    def lose(self, losses: list[Loss]) -> None:
        """Take note of what is missing, before anything that comes after it is kept."""
        self.losses.add(losses, self.names)
        if self._halts:
            raise Halted

    def _describe(self, **changes: object) -> None:
        sources = {f"{source:016x}": name for source, name in sorted(self.names.items())}
        self._description = msgspec.structs.replace(self._description, sources=sources, **changes)
        write_whole(self._directory / DESCRIPTION, self._description)

    @property
    def total(self) -> str:
        """Everything that is there now, in words."""
        return self._total

    def close(self, failure: str) -> bool:
        """End it; whether it is complete.

        Args:
            failure: what has ended it before its time; empty if nothing has.
        """
        is_complete = not failure and not self.losses.lacks.has_losses
        streams = {extent.stream.source for extent in self._journal.streams()}
        self.names = {source: name for source, name in self.names.items() if source in streams}
        number = len(self._journal.streams())
        all_messages = self._before + self.taken
        self._total = f"{all_messages:,} in {number:,} stream{'' if number == 1 else 's'}"
        try:
            self._journal.close()
            self._describe(ended=iso(time.time_ns()), messages=all_messages, streams=number)
            if is_complete:
                self.losses.path.unlink()
                return True
            self.losses.write(failure or "it has ended in order, and messages are missing")
        except (OSError, MyceliumError) as error:
            # The disk is full: what was written from the first moment says that it is incomplete.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            Console(stderr=True, soft_wrap=True).print(f"error: {reason}", highlight=False, markup=False)
        return False

    @property
    def stored_bytes(self) -> int:
        """What the journal takes."""
        return self._journal.statistics().stored_bytes


def _messages_in(journal: LmdbJournal) -> int:
    """How many messages there are: streams may have holes."""
    number = after = 0
    while records := journal.read(after, limit=READ_AT_ONCE, max_bytes=MAX_READ_BYTES):
        number += sum(decode_frame(record.frame).count for record in records)
        after = records[-1].position
    return number
