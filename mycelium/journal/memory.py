"""A journal in memory: a ring that drops its oldest frames when it is full.

What a publisher over ipc keeps by default to repair its readers from. It survives nothing, so
``synced_position`` is simply the last: the setting promises no more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import ClosedError
from mycelium.journal.accounts import MemoryAccounts
from mycelium.journal.catalogue import Catalogue, StreamState, check_order
from mycelium.journal.errors import JournalFullError
from mycelium.journal.keeping import Cause, Retention, Trimmed
from mycelium.journal.protocol import Entry, JournalStatistics, Record
from mycelium.journal.retention import Dropped, Removals, apply, forgettable

NAME = "memory"

T = TypeVar("T")


class _Slot(msgspec.Struct, frozen=True, gc=False):
    record: Record
    sequence: int
    count: int
    state: StreamState


class _Shelf(Generic[T]):
    """A sorted list that loses its head cheaply: the dead part is cut off when it is the larger one."""

    __slots__ = ("head", "items")

    def __init__(self) -> None:
        self.items: list[T] = []
        self.head: int = 0

    def advance(self, to: int) -> None:
        self.head = to
        if to > 64 and to > len(self.items) // 2:
            del self.items[:to]
            self.head = 0


class MemoryJournal(MemoryAccounts):
    """A :class:`~mycelium.journal.protocol.Journal` in memory. When it is full it drops its oldest frames.

    What it dropped is in the result of the next :meth:`trim`, so that the ledger can count it.

    Args:
        max_bytes: bytes of frames to keep at most.
        max_frames: frames to keep at most; each takes about 300 bytes beside its own.
        retention: rules beyond these two.
    """

    def __init__(
        self, *, max_bytes: int = 64 << 20, max_frames: int = 100_000, retention: Retention | None = None
    ) -> None:
        super().__init__()
        if max_bytes < 1 or max_frames < 1:
            raise ValueError(f"max_bytes {max_bytes} and max_frames {max_frames} must be at least 1")
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._retention = retention or Retention()
        self._slots: dict[int, _Slot] = {}
        # Sorted positions; those taken out of the middle by a topic's rule stay until they reach the head.
        self._order: _Shelf[int] = _Shelf()
        self._shelves: dict[int, _Shelf[_Slot]] = {}
        self._catalogue = Catalogue()
        self._bytes = 0
        self._last_position = 0
        self._last_arrived_ns = 0
        self._next_number = 1
        self._appended = 0
        self._refused_full = 0
        self._removed: dict[str, int] = {}
        self._unreported = Removals()
        self._closed = False

    @property
    def first_position(self) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return next(self._from(0), self._last_position + 1)

    @property
    def last_position(self) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return self._last_position

    @property
    def synced_position(self) -> int:
        """The last position: memory promises nothing that would have to be waited for."""
        self._check_open()
        return self._last_position

    def append(self, entries: Sequence[Entry]) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`. Drops the oldest frames where room is needed.

        Raises:
            JournalFullError: the batch alone is larger than the ring.
            JournalOrderError: an entry starts at or before the last sequence of its stream.
        """
        self._check_open()
        wanted = sum(len(entry.frame) for entry in entries)
        if wanted > self._max_bytes or len(entries) > self._max_frames:
            self._refused_full += 1
            raise JournalFullError(NAME, wanted, f"the ring holds {self._max_bytes} bytes, {self._max_frames} frames")
        check_order(self._catalogue, entries, NAME)
        self._evict(wanted, len(entries))
        for entry in entries:
            self._put(entry)
        self._appended += len(entries)
        return self._last_position

    def read(self, after: int, *, limit: int, max_bytes: int) -> list[Record]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        records: list[Record] = []
        size = 0
        for position in self._from(after + 1):
            record = self._slots[position].record
            size += len(record.frame)
            if len(records) >= limit or (records and size > max_bytes):
                break
            records.append(record)
        return records

    def read_stream(self, stream: StreamKey, from_sequence: int, *, limit: int, max_bytes: int) -> list[Record]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.by_key.get(stream)
        if state is None or state.empty:
            return []
        shelf = self._shelves[state.number]
        start = bisect_right(shelf.items, from_sequence, lo=shelf.head, key=lambda slot: slot.sequence)
        if start > shelf.head and shelf.items[start - 1].sequence + shelf.items[start - 1].count > from_sequence:
            start -= 1
        records: list[Record] = []
        size = 0
        for index in range(start, min(start + limit, len(shelf.items))):
            record = shelf.items[index].record
            size += len(record.frame)
            if records and size > max_bytes:
                break
            records.append(record)
        return records

    def position_at(self, time_ns: int) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        items = self._order.items
        low, high = self._order.head, len(items)
        while low < high:
            middle = (low + high) // 2
            # A position whose frame is gone says nothing: look at the next that is there.
            probe = next((index for index in range(middle, high) if items[index] in self._slots), high)
            if probe == high or self._slots[items[probe]].record.arrived_ns >= time_ns:
                high = middle
            else:
                low = probe + 1
        return next(self._from(items[low] if low < len(items) else self._last_position + 1), self._last_position + 1)

    def latest(self, topic: str) -> Record | None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.latest(topic)
        return None if state is None else self._slots[state.last_position].record

    def first_from(self, stream: StreamKey, position: int) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.by_key.get(stream)
        if state is None:
            return 1
        shelf = self._shelves[state.number]
        at = bisect_left(shelf.items, position, lo=shelf.head, key=lambda slot: slot.record.position)
        return shelf.items[at].sequence if at < len(shelf.items) else state.last_sequence + 1

    def trim(self, now_ns: int, *, limit: int = 5_000) -> Trimmed:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        removals = Removals()
        more = apply(self._retention, self._catalogue, now_ns, limit, self._drop, removals)
        self._forget()
        evicted, self._unreported = self._unreported, Removals()
        self._count(removals)
        return Trimmed(evicted.frozen() + removals.frozen(), more)

    def sync(self) -> None:
        """Nothing: there is no disk."""
        self._check_open()

    def sync_if_due(self, now_ns: int) -> bool:  # noqa: ARG002 - the protocol's
        """False: there is no disk."""
        self._check_open()
        return False

    def statistics(self) -> JournalStatistics:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        return JournalStatistics(
            frames=len(self._slots),
            frame_bytes=self._bytes,
            streams=len(self._catalogue),
            readers=len(self._accounts),
            first_position=next(self._from(0), self._last_position + 1),
            last_position=self._last_position,
            synced_position=self._last_position,
            stored_bytes=self._bytes,
            max_bytes=self._max_bytes,
            free_bytes=None,
            appended=self._appended,
            refused_full=self._refused_full,
            syncs=0,
            removed=dict(self._removed),
        )

    def close(self) -> None:
        """Let go of everything. May be called again."""
        self._closed = True
        self._slots.clear()
        self._shelves.clear()
        self._order = _Shelf()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the journal in memory")

    def _from(self, position: int) -> Iterator[int]:
        """The kept positions from ``position`` on."""
        order = self._order
        start = bisect_left(order.items, position, lo=order.head)
        return (order.items[index] for index in range(start, len(order.items)) if order.items[index] in self._slots)

    def _put(self, entry: Entry) -> None:
        key = entry.stream
        state = self._catalogue.by_key.get(key)
        if state is None:
            state = StreamState(self._next_number, key)
            self._next_number += 1
            self._catalogue.add(state)
            self._shelves[state.number] = _Shelf()
        self._last_position += 1
        self._last_arrived_ns = max(self._last_arrived_ns, entry.arrived_ns)
        record = Record(self._last_position, self._last_arrived_ns, entry.frame)
        slot = _Slot(record, entry.sequence, entry.count, state)
        state.extend(entry, record.position, record.arrived_ns)
        self._catalogue.appended_to(state)
        self._slots[record.position] = slot
        self._order.items.append(record.position)
        self._shelves[state.number].items.append(slot)
        self._bytes += len(entry.frame)

    def _evict(self, wanted: int, frames: int) -> None:
        if self._bytes + wanted <= self._max_bytes and len(self._slots) + frames <= self._max_frames:
            return
        removals = Removals()
        while self._bytes + wanted > self._max_bytes or len(self._slots) + frames > self._max_frames:
            oldest = self._slots[next(self._from(0))].state
            dropped = self._drop(oldest)
            removals.add(Cause.SIZE, oldest.key, dropped)
            self._unreported.add(Cause.SIZE, oldest.key, dropped)
        self._count(removals)
        self._forget()

    def _drop(self, state: StreamState) -> Dropped:
        shelf = self._shelves[state.number]
        slot = shelf.items[shelf.head]
        size = len(slot.record.frame)
        shelf.advance(shelf.head + 1)
        del self._slots[slot.record.position]
        self._bytes -= size
        self._skip_dead()
        state.bytes_before += size
        if shelf.head < len(shelf.items):
            following = shelf.items[shelf.head]
            state.first_sequence = following.sequence
            state.first_position = following.record.position
            state.first_arrived_ns = following.record.arrived_ns
        else:
            state.clear()
        return Dropped(slot.count, size)

    def _skip_dead(self) -> None:
        order = self._order
        head = order.head
        while head < len(order.items) and order.items[head] not in self._slots:
            head += 1
        order.advance(head)
        if len(order.items) - order.head > 2 * len(self._slots) + 64:
            order.items = list(self._slots)
            order.head = 0

    def _forget(self) -> None:
        for state in forgettable(self._retention, self._catalogue):
            self._catalogue.forget(state)
            del self._shelves[state.number]
            self._forget_accounts(state.key)

    def _count(self, removals: Removals) -> None:
        for cause, frames in removals.by_cause().items():
            self._removed[cause] = self._removed.get(cause, 0) + frames
