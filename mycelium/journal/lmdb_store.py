"""A journal in LMDB: frames survive the process, and the loss of power if so set.

Theory of operation. One write transaction per batch, committed before :meth:`~LmdbJournal.append`
returns. The frames go to the end of the ``records`` table, and to ``index`` by stream and sequence. What the hot
path asks of streams is answered from memory (:mod:`mycelium.journal.catalogue`), which is changed only
after the commit, and read from the store at the start: a look at the first and last index entry of
each stream. As arrivals never go back along the positions, a time is found by halving; there is no table for it.

Durability. ``process``: no sync; the kernel has what was committed. ``frame``: each commit waits for
the disk, in LMDB's own order, which survives anything. ``group``: commits do not wait, and
:meth:`~LmdbJournal.sync` brings all of them to the disk at once. Power lost between two syncs may
leave LMDB's trees torn; so a read transaction holds on to the snapshot that was synced last, whose
pages are then not written over until the next sync, which comes early if there are too many of them.
Every frame up to ``synced_position`` is so on the disk, whole, and is found by ``mycelium journal salvage``
if the store is refused at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import ClosedError
from mycelium.journal.accounts import LmdbAccounts
from mycelium.journal.catalogue import StreamState, check_order
from mycelium.journal.disk import DEFAULT_THOROUGH_BYTES, free_bytes
from mycelium.journal.engine import Engine
from mycelium.journal.errors import JournalDamagedError, JournalError
from mycelium.journal.keeping import Retention, Trimmed
from mycelium.journal.loading import Loaded, begin, load
from mycelium.journal.protocol import Durability, Entry, JournalStatistics, Record
from mycelium.journal.reading import (
    count_records,
    find_position,
    find_time,
    first_position,
    read_index,
    read_record,
    read_records,
)
from mycelium.journal.records import FORMAT_VERSION, RECORD_BYTES, StoredState, StoredStream
from mycelium.journal.retention import Dropped, Removals, apply, forgettable
from mycelium.journal.tables import LEAST_BYTES, RESERVE_BYTES, Reading, Tables
from mycelium.journal.writing import Batch, Writer

P = ParamSpec("P")
T = TypeVar("T")

# Frames to remove in one transaction when there is no room left: see RESERVE_DISK_BYTES.
SMALL_TRIM = 64

# What a commit writes over beside its frames: a page or two in each of LMDB's trees. With ``group`` such pages
# cannot be used again before the next sync, so one is made early when an eighth of the store may be of them;
# else a store filled with them, and a large frame found no pages side by side. Measured: about half of it.
COMMIT_BYTES = 64 << 10


class LmdbJournal(LmdbAccounts):
    """A :class:`~mycelium.journal.protocol.Journal` in a directory of its own.

    Args:
        directory: where; made if it is not there.
        durability: what an appended frame survives.
        max_bytes: what the file may take, at least 1 MiB. It grows by itself and does not shrink: room that
            trimming makes is used again.
        retention: what :meth:`trim` keeps.
        sync_interval_ns: with ``group``, the time between two syncs, in ns.
        thorough_bytes: a file up to this size is examined page by page at the start; a larger one
            only after the machine went down with the store open.

    Raises:
        JournalLockedError: another process has it open.
        JournalDamagedError: the store cannot be trusted.
        JournalVersionError: another version wrote it.
        JournalFullError: there is no room to begin.
        JournalError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        durability: Durability = Durability.PROCESS,
        max_bytes: int = 1 << 30,
        retention: Retention | None = None,
        sync_interval_ns: int = 10_000_000,
        thorough_bytes: int = DEFAULT_THOROUGH_BYTES,
    ) -> None:
        super().__init__()
        if max_bytes < LEAST_BYTES:
            raise ValueError(f"max_bytes {max_bytes}: at least {LEAST_BYTES} are needed")
        self._path = str(directory)
        self._durability = durability
        self._max_bytes = max_bytes
        self._retention = retention or Retention()
        self._sync_interval_ns = sync_interval_ns
        self._synced_at_ns = 0
        self._commits = 0
        """Since the last sync."""
        self._appended = 0
        self._removed: dict[str, int] = {}
        self._closed = True
        self._engine = Engine(
            Path(directory), durability=durability, max_bytes=max_bytes, thorough_bytes=thorough_bytes
        )
        try:
            self._adopt(begin(self._engine))
            if durability is not Durability.PROCESS:
                self._engine.sync()  # the process before this one may have promised less
        except BaseException:
            self._engine.close(sync=False)
            raise
        self._synced_position = self._last_position
        self._closed = False

    def _adopt(self, loaded: Loaded) -> None:
        self._store_id = loaded.state.store_id
        self._next_number = loaded.state.next_number
        self._catalogue = loaded.catalogue
        self._last_position = loaded.last_position
        self._last_arrived_ns = loaded.last_arrived_ns

    @property
    def path(self) -> str:
        """The directory, as it was given."""
        return self._path

    @property
    def first_position(self) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        return self._read(first_position, self._last_position)

    @property
    def last_position(self) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return self._last_position

    @property
    def synced_position(self) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return self._synced_position if self._durability is Durability.GROUP else self._last_position

    def append(self, entries: Sequence[Entry]) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        start = self._last_position + 1
        return self.restore(range(start, start + len(entries)), entries)

    def restore(self, positions: Sequence[int], entries: Sequence[Entry]) -> int:
        """:meth:`append` at given positions, rising and above the last: for salvage.

        Raises:
            ValueError: a position is not above the one before.
        """
        self._check_open()
        if not entries:
            return self._last_position
        check_order(self._catalogue, entries, self._path)
        if positions[0] <= self._last_position:
            raise ValueError(f"position {positions[0]} is not above {self._last_position}")
        if self._durability is Durability.GROUP and self._commits * COMMIT_BYTES > self._max_bytes // 8:
            self.sync()
        batch = Batch(self._catalogue, self._next_number, self._last_arrived_ns)
        for position, entry in zip(positions, entries, strict=True):
            batch.add(position, entry)
        self._write(
            lambda writer: batch.store(writer, self._state()), sum(len(entry.frame) + RECORD_BYTES for entry in entries)
        )
        batch.done()
        self._next_number = batch.next_number
        self._last_position = positions[-1]
        self._last_arrived_ns = batch.last_arrived_ns
        self._appended += len(entries)
        self._commits += 1
        return self._last_position

    def restore_marks(self, last_position: int, streams: Iterable[StoredStream]) -> None:
        """Take over how far the store and streams without frames had come: for salvage, after the frames."""
        self._check_open()
        batch = Batch(self._catalogue, self._next_number, self._last_arrived_ns)
        for stream in streams:
            if stream.last_sequence and stream.key not in self._catalogue.by_key:
                state = batch.begin(stream.key)
                state.last_sequence, state.last_position = stream.last_sequence, stream.last_position
                state.clear()
        self._last_position = max(self._last_position, last_position)

        def store(writer: Writer) -> None:
            writer.state(self._state())
            batch.store(writer, self._state())

        self._write(store, 0)
        batch.done()
        self._next_number = batch.next_number

    def _state(self) -> StoredState:
        return StoredState(
            FORMAT_VERSION, self._next_number, self._store_id, 0, self._last_position, self._last_arrived_ns
        )

    def read(self, after: int, *, limit: int, max_bytes: int) -> list[Record]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        return self._read(read_records, after, limit, max_bytes)

    def read_stream(self, stream: StreamKey, from_sequence: int, *, limit: int, max_bytes: int) -> list[Record]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.by_key.get(stream)
        if state is None or state.empty or from_sequence > state.last_sequence:
            return []
        return self._read(read_index, state.number, from_sequence, limit, max_bytes)

    def position_at(self, time_ns: int) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        return self._read(find_time, time_ns, self._last_position)

    def latest(self, topic: str) -> Record | None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.latest(topic)
        return None if state is None else self._read(read_record, state.last_position)

    def first_from(self, stream: StreamKey, position: int) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.by_key.get(stream)
        if state is None:
            return 1
        if state.empty or position > state.last_position:
            return state.last_sequence + 1
        return self._read(find_position, state, position)

    def trim(self, now_ns: int, *, limit: int = 5_000) -> Trimmed:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        removals = Removals()
        at_once = [SMALL_TRIM, limit]

        def remove(writer: Writer) -> bool:
            most = at_once.pop()
            if removals.frames:  # a second try, with the reserve: the first was undone on the disk
                self._reload()
                removals.clear()
            dropped: dict[int, StreamState] = {}

            def drop(state: StreamState) -> Dropped:
                dropped[state.number] = state
                return writer.drop_first(state)

            more = apply(self._retention, self._catalogue, now_ns, min(most, limit), drop, removals)
            for state in dropped.values():
                if state.empty:
                    writer.stream(state)
            forgotten = forgettable(self._retention, self._catalogue)
            for state in forgotten:
                self._catalogue.forget(state)
                writer.forget(state)
            if dropped or forgotten:
                writer.state(self._state())
            return more

        more = self._write(remove, 0, reserve=RESERVE_BYTES)
        for cause, frames in removals.by_cause().items():
            self._removed[cause] = self._removed.get(cause, 0) + frames
        return Trimmed(removals.frozen(), more)

    def _reload(self) -> None:
        """Read anew what was changed in memory for a transaction that did not come to be."""
        loaded = self._engine.read(load)
        if loaded is None:
            raise JournalDamagedError(self._path, "its state is gone")
        self._adopt(loaded)

    def sync(self) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        upto = self._last_position
        self._engine.sync()
        self._synced_position = upto
        self._commits = 0

    def sync_if_due(self, now_ns: int) -> bool:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        if self._durability is not Durability.GROUP or now_ns - self._synced_at_ns < self._sync_interval_ns:
            return False
        self._synced_at_ns = now_ns
        if self._synced_position == self._last_position:
            return False
        self.sync()
        return True

    def statistics(self) -> JournalStatistics:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        frames = self._read(count_records)
        return JournalStatistics(
            frames=frames,
            frame_bytes=sum(state.kept_bytes for state in self._catalogue),
            streams=len(self._catalogue),
            readers=len(self.readers()),
            first_position=self.first_position,
            last_position=self._last_position,
            synced_position=self.synced_position,
            stored_bytes=self._engine.tables.stored_bytes,
            max_bytes=self._max_bytes,
            free_bytes=free_bytes(self._path),
            appended=self._appended,
            refused_full=self._engine.refused_full,
            syncs=self._engine.syncs,
            removed=dict(self._removed),
        )

    def close(self) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        if not self._closed:
            self._closed = True
            self._engine.close(sync=True)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"journal {self._path}")

    def _read(self, work: Callable[Concatenate[Tables, Reading, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_open()
        return self._engine.read(work, *args, **kwargs)

    def _write(self, work: Callable[[Writer], T], wanted: int, *, reserve: int = 0) -> T:
        try:
            return self._engine.write(work, wanted, reserve=reserve)
        except JournalError:
            # Memory may be ahead of the disk, and whether a commit that failed half-way came to be is known
            # to the store alone.
            self._reload()
            raise
