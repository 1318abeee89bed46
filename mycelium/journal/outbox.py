"""A publisher's unconfirmed frames on the disk, so that they outlive its process.

Theory of operation. An outbox is a store like that of a journal, with the same tables: so ``mycelium journal``
checks, exports and salvages it too. Frames go in before they are sent, and out when they are confirmed, which
is always the beginning of what a stream has here. Where its frames stand is held in memory, so a confirm
reads nothing. What a former process left is read, and checked, at the opening.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.errors import ClosedError
from mycelium.journal.catalogue import Catalogue, check_order
from mycelium.journal.disk import DEFAULT_THOROUGH_BYTES
from mycelium.journal.engine import Engine
from mycelium.journal.errors import JournalDamagedError, JournalError, JournalFullError
from mycelium.journal.loading import Loaded, begin, load
from mycelium.journal.protocol import Durability, Entry
from mycelium.journal.reading import checked_record
from mycelium.journal.records import FORMAT_VERSION, RECORD_BYTES, StoredRecord, StoredState
from mycelium.journal.tables import LEAST_BYTES, RESERVE_BYTES, Reading, Tables
from mycelium.journal.writing import Batch, Writer


class _Place(NamedTuple):
    """Where a frame stands. ``last`` is the sequence of its last message."""

    sequence: int
    last: int
    position: int


class Outbox:
    """The frames that a publisher has sent or will send, until they are confirmed.

    It belongs to one service, in a directory of its own, and to one thread. What is put survives the end of the
    process, however it ends; not the loss of power.

    Args:
        directory: where; made if it is not there.
        max_bytes: what the file may take, at least 1 MiB.

    Raises:
        JournalLockedError: another process has it open.
        JournalDamagedError: what it holds cannot be trusted.
        JournalVersionError: another version wrote it.
        JournalFullError: there is no room to begin.
        JournalError: the directory cannot be used.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 256 << 20) -> None:
        if max_bytes < LEAST_BYTES:
            raise ValueError(f"max_bytes {max_bytes}: at least {LEAST_BYTES} are needed")
        self._path = str(directory)
        self._closed = False
        self._waiting: dict[StreamKey, deque[_Place]] = {}
        # Up to where streams are confirmed whose frames could not be removed yet.
        self._confirmed: dict[StreamKey, int] = {}
        self._engine = Engine(
            directory, durability=Durability.PROCESS, max_bytes=max_bytes, thorough_bytes=DEFAULT_THOROUGH_BYTES
        )
        try:
            loaded = begin(self._engine)
            self.left: tuple[Frame, ...] = self._adopt(loaded, self._engine.read(_stored))
            """What former processes left, oldest first."""
        except BaseException:
            self._engine.close(sync=False)
            raise

    def _adopt(self, loaded: Loaded, records: list[StoredRecord]) -> tuple[Frame, ...]:
        self._catalogue: Catalogue = loaded.catalogue
        self._store_id = loaded.state.store_id
        self._next_number = loaded.state.next_number
        self._last_position = loaded.last_position
        # Streams that were confirmed to their end. Forgotten with the first frames put: a full disk must not
        # keep what is left from being sent.
        self._ended = [state for state in self._catalogue if state.empty]
        for state in self._ended:
            self._catalogue.forget(state)
        keys = {state.number: state.key for state in self._catalogue}
        left: list[Frame] = []
        for record in records:
            stream = keys.get(record.stream)
            if stream is None:
                raise JournalDamagedError(self._path, f"stream {record.stream} is not known", position=record.position)
            frame = Frame(stream, record.sequence, record.count, record.frame)
            self._keep(frame, record.position)
            left.append(frame)
        return tuple(left)

    def put(self, frames: Sequence[Frame]) -> None:
        """Keep frames, all of them or none. When this returns, they survive the end of the process.

        Args:
            frames: each comes after the one before it in its stream, mostly at once: a publish that was cancelled
                leaves a hole.

        Raises:
            JournalFullError: there is no room until frames are confirmed. The next call tries again.
            JournalOrderError: a frame starts at or before the last sequence of its stream.
            JournalError: the disk failed.
        """
        self._check_open()
        if not frames:
            return
        if self._confirmed:
            self._remove_confirmed()
        entries = [Entry(frame.stream, frame.sequence, frame.count, 0, frame.data) for frame in frames]
        check_order(self._catalogue, entries, self._path)
        batch = Batch(self._catalogue, self._next_number, 0)
        start = self._last_position + 1
        for position, entry in enumerate(entries, start):
            batch.add(position, entry)
        state = StoredState(FORMAT_VERSION, self._next_number, self._store_id, 0, self._last_position, 0)

        def store(writer: Writer) -> None:
            for ended in self._ended:
                writer.forget(ended)
            batch.store(writer, state)

        try:
            self._engine.write(store, sum(len(entry.frame) + RECORD_BYTES for entry in entries))
        except JournalError:
            # Whether a commit that failed half-way came to be is known to the store alone.
            found = self._engine.read(load)
            if found is None or found.last_position < start:
                raise
        batch.done()
        self._ended = []
        self._next_number = batch.next_number
        for position, frame in enumerate(frames, start):
            self._keep(frame, position)
        self._last_position += len(frames)

    def _keep(self, frame: Frame, position: int) -> None:
        place = _Place(frame.sequence, frame.last, position)
        waiting = self._waiting.get(frame.stream)
        if waiting is None:
            self._waiting[frame.stream] = deque((place,))
        else:
            waiting.append(place)

    def confirm(self, stream: StreamKey, last: int) -> None:
        """Forget the frames of a stream up to a message; also those of :attr:`left`. A stream without any is no error.

        When this returns they are not left to the next process. Only where the disk is so full that not even
        removing works, they may be: then they are removed by a later call, and the store refuses what it has.

        Raises:
            JournalError: the disk failed.
        """
        self._check_open()
        waiting = self._waiting.get(stream)
        if waiting is not None and waiting[0].last <= last:
            self._confirmed[stream] = max(last, self._confirmed.get(stream, 0))
            self._remove_confirmed()

    def _remove_confirmed(self) -> None:
        gone = {stream: self._upto(stream, last) for stream, last in self._confirmed.items()}

        def remove(writer: Writer) -> None:
            for stream, places in gone.items():
                number = self._catalogue.by_key[stream].number
                writer.remove(number, [(place.sequence, place.position) for place in places])

        try:
            self._engine.write(remove, 0, reserve=RESERVE_BYTES)
        except JournalFullError:
            return  # they stay confirmed, and go with the next call
        self._confirmed = {}
        for stream, places in gone.items():
            waiting = self._waiting[stream]
            for _ in places:
                waiting.popleft()
            if not waiting:
                del self._waiting[stream]

    def _upto(self, stream: StreamKey, last: int) -> list[_Place]:
        return list(takewhile(lambda place: place.last <= last, self._waiting[stream]))

    def close(self) -> None:
        """Bring everything to the disk and let go of it. May be called again."""
        if not self._closed:
            self._closed = True
            try:
                if self._confirmed:
                    self._remove_confirmed()
            finally:
                self._engine.close(sync=True)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"outbox {self._path}")


def _stored(tables: Tables, txn: Reading) -> list[StoredRecord]:
    with txn.cursor(tables.records) as cursor:
        return [checked_record(tables, key, value) for key, value in cursor.iternext()]
