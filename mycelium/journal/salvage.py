"""Check a store, save what is readable of one into another, and write frames out."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import WireError
from mycelium.core.topics import Pattern
from mycelium.journal.contents import Contents, Damage, opened
from mycelium.journal.disk import DATA
from mycelium.journal.errors import JournalError, JournalVersionError
from mycelium.journal.lmdb_store import LmdbJournal
from mycelium.journal.protocol import Entry
from mycelium.journal.records import FORMAT_VERSION, KNOWN, StoredRecord

Progress = Callable[[int, int], None]
"""Told now and then: records done, and records in all."""

# A transaction of this size is as quick per frame as a larger one.
_BATCH = 256
_TELL_EVERY = 1_000
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Report:
    """What a walk over a store found.

    Args:
        path: of the store.
        searched: whether its pages are so damaged that the file was searched for records.
        damage: everything that is not what was written.
        frames: sound frames.
        messages: what they hold.
        frame_bytes: their bytes.
        streams: streams known.
        readers: durable readers known.
        accounts: what they have stored.
        first_position, last_position: of the sound frames, 0 if there are none.
        skipped_positions: positions between these two at which there is no sound frame.
            Retention by topic leaves such; so does damage.
        missing_messages: messages that are missing inside streams, between frames that are kept.
    """

    path: str
    searched: bool
    damage: tuple[Damage, ...]
    frames: int
    messages: int
    frame_bytes: int
    streams: int
    readers: int
    accounts: int
    first_position: int
    last_position: int
    skipped_positions: int
    missing_messages: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames to export.

    Args:
        pattern: of their topics, None for all.
        from_position, to_position: the first and last one.
        from_ns, to_ns: arrived at this time or later, and before this one.
    """

    pattern: Pattern | None = None
    from_position: int = 1
    to_position: int = (1 << 64) - 1
    from_ns: int = 0
    to_ns: int = (1 << 64) - 1

    def wants(self, record: StoredRecord, topic: str) -> bool:
        """Whether a record is among them."""
        return (
            self.from_position <= record.position <= self.to_position
            and self.from_ns <= record.arrived_ns < self.to_ns
            and (self.pattern is None or self.pattern.matches(topic))
        )


def check(directory: Path, *, progress: Progress | None = None) -> Report:
    """Walk everything in a store that nobody has open, sound or not.

    Args:
        directory: of the store.
        progress: is told how far it has come.

    Raises:
        JournalLockedError: a process has it open.
        JournalVersionError: another version wrote it.
        JournalError: there is no store, or it cannot be read.
    """
    with opened(directory) as contents:
        walk = _Walk(contents)
        for _ in walk.records(progress):
            pass
        return walk.report()


def salvage(directory: Path, out: Path, *, progress: Progress | None = None) -> Report:
    """Save all readable frames, streams and accounts into a new store. Positions stay.

    Args:
        directory: of the damaged store, which is not changed.
        out: of the new one: must not be there yet. Nothing is left there if this fails.
        progress: is told how far it has come.

    Returns:
        What was saved, and the damage.

    Raises:
        JournalLockedError: a process has the damaged store open.
        JournalFullError: the disk has no room for the new one.
        JournalError: there is no store, or ``out`` is there.
    """
    if out.exists():
        raise JournalError(str(out), "is there already; name a directory that is not")
    with opened(directory) as contents:
        walk = _Walk(contents)
        # Frames of the same size take as much as before; sparse trees may take twice that.
        size = 2 * (directory / DATA).stat().st_size + (64 << 20)
        try:
            journal = LmdbJournal(out, max_bytes=size)
            try:
                for positions, entries in _batches(walk, progress):
                    journal.restore(positions, entries)
                state = contents.state
                journal.restore_marks(0 if state is None else state.last_position, contents.streams.values())
                for reader, accounts in _accounts(contents).items():
                    known = {key: account for key, account in accounts.items() if journal.extent(key) is not None}
                    journal.store_accounts(reader, known)
            finally:
                journal.close()
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
        return walk.report()


def _accounts(contents: Contents) -> dict[str, dict[StreamKey, bytes]]:
    """By reader; of a stream that was forgotten and began again, that of the later number."""
    found: dict[str, dict[StreamKey, bytes]] = {}
    for (reader, number), stored in sorted(contents.accounts.items()):
        accounts = found.setdefault(reader, {})
        if number in contents.streams:
            accounts[contents.streams[number].key] = stored.account
    return found


def _batches(walk: _Walk, progress: Progress | None) -> Iterator[tuple[list[int], list[Entry]]]:
    positions: list[int] = []
    entries: list[Entry] = []
    for record, key in walk.records(progress):
        positions.append(record.position)
        entries.append(Entry(key, record.sequence, record.count, record.arrived_ns, record.frame))
        if len(entries) == _BATCH:
            yield positions, entries
            positions, entries = [], []
    if entries:
        yield positions, entries


def export(
    directory: Path, out: BinaryIO, selection: Selection, *, raw: bool = False, progress: Progress | None = None
) -> tuple[int, Report]:
    """Write frames out.

    Args:
        directory: of the store; it may be damaged.
        out: where to. Each frame is a line of JSON with its ``frame`` in base64.
        selection: which frames.
        raw: write the bytes of the frames alone, each after its length as u32, little-endian.
        progress: is told how far it has come.

    Returns:
        How many frames were written, and what the walk found.

    Raises:
        JournalLockedError: a process has the store open.
        JournalError: there is no store.
        OSError: ``out`` cannot be written.
    """
    written = 0
    with opened(directory) as contents:
        walk = _Walk(contents)
        for record, key in walk.records(progress):
            if selection.wants(record, key.topic):
                out.write(_LENGTH.pack(len(record.frame)) + record.frame if raw else _line(record, key))
                written += 1
        return written, walk.report()


def _line(record: StoredRecord, key: StreamKey) -> bytes:
    values = {
        "position": record.position,
        "arrived_ns": record.arrived_ns,
        "topic": key.topic,
        "source": f"{key.source:016x}",
        "epoch": key.epoch,
        "sequence": record.sequence,
        "count": record.count,
        "frame": base64.b64encode(record.frame).decode(),
    }
    return json.dumps(values).encode() + b"\n"


class _Walk:
    """Goes through the records once, and counts."""

    def __init__(self, contents: Contents) -> None:
        state = contents.state
        if state is not None and state.version != FORMAT_VERSION:
            raise JournalVersionError(contents.path, state.version, FORMAT_VERSION)
        self._contents = contents
        self._damage = list(contents.damage)
        self._ends: dict[StreamKey, int] = {}
        self._frames = self._messages = self._bytes = self._missing = 0
        self._first = self._last = 0

    def records(self, progress: Progress | None) -> Iterator[tuple[StoredRecord, StreamKey]]:
        """The sound records, each with its stream."""
        total = self._contents.total
        for done, found in enumerate(self._contents.records):
            if progress is not None and done % _TELL_EVERY == 0:
                progress(done, total)
            if isinstance(found, Damage):
                self._damage.append(found)
                continue
            key = self._key_of(found)
            if key is None:
                self._damage.append(Damage(found.position, f"stream {found.stream} is not known, nor is the frame one"))
            elif found.sequence <= self._ends.get(key, 0):
                self._damage.append(Damage(found.position, f"its stream has passed sequence {found.sequence}"))
            else:
                self._count(found, key)
                yield found, key
        if progress is not None:
            progress(total, total)

    def _key_of(self, record: StoredRecord) -> StreamKey | None:
        stream = self._contents.streams.get(record.stream)
        if stream is not None:
            return stream.key
        try:
            envelope = decode_frame(record.frame, max_frame=len(record.frame))
        except WireError:
            return None
        return StreamKey(envelope.source, envelope.epoch, envelope.topic)

    def _count(self, record: StoredRecord, key: StreamKey) -> None:
        end = self._ends.get(key)
        if end is not None:
            self._missing += record.sequence - end - 1
        self._ends[key] = record.sequence + record.count - 1
        self._first = self._first or record.position
        self._last = record.position
        self._frames += 1
        self._messages += record.count
        self._bytes += len(record.frame)

    def report(self) -> Report:
        """What was found."""
        return Report(
            path=self._contents.path,
            searched=self._contents.searched,
            damage=tuple(self._damage),
            frames=self._frames,
            messages=self._messages,
            frame_bytes=self._bytes,
            streams=len(self._contents.streams),
            readers=len({reader for reader, _ in self._contents.accounts}),
            accounts=sum(stream != KNOWN for _, stream in self._contents.accounts),
            first_position=self._first,
            last_position=self._last,
            skipped_positions=self._last - self._first + 1 - self._frames if self._frames else 0,
            missing_messages=self._missing,
        )
