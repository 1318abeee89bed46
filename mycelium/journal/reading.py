"""What a transaction reads from the tables. Everything is checked, and copied out."""

from __future__ import annotations

from typing import TypeAlias

import lmdb

from mycelium.journal.catalogue import StreamState
from mycelium.journal.errors import JournalDamagedError
from mycelium.journal.protocol import Record
from mycelium.journal.records import (
    POSITION_KEY,
    BadValueError,
    IndexEntry,
    StoredRecord,
    index_key,
    unpack_index,
    unpack_index_key,
    unpack_record,
)
from mycelium.journal.tables import Reading, Tables

Cursor: TypeAlias = "lmdb.Cursor[memoryview]"

_TOP = (1 << 64) - 1


def checked_record(tables: Tables, key: memoryview | bytes, value: memoryview | bytes) -> StoredRecord:
    """A record from its key and value.

    Raises:
        JournalDamagedError: it is not what was written.
    """
    position = int.from_bytes(key, "big")
    try:
        record = unpack_record(value)
    except BadValueError as error:
        raise JournalDamagedError(tables.path, str(error), position=position) from None
    if record.position != position:
        raise JournalDamagedError(tables.path, f"the record is that of position {record.position}", position=position)
    return record


def read_record(tables: Tables, txn: Reading, position: int) -> Record:
    """The record at a position at which one must be.

    Raises:
        JournalDamagedError: there is none, or it is damaged.
    """
    return stored_record(tables, txn, position).record


def stored_record(tables: Tables, txn: Reading, position: int) -> StoredRecord:
    """As :func:`read_record`, with all that the store knows."""
    key = POSITION_KEY.pack(position)
    value = txn.get(key, db=tables.records)
    if value is None:
        raise JournalDamagedError(tables.path, "no record, but the index has one", position=position)
    return checked_record(tables, key, value)


def read_records(tables: Tables, txn: Reading, after: int, limit: int, max_bytes: int) -> list[Record]:
    """What :meth:`~mycelium.journal.protocol.Journal.read` returns."""
    records: list[Record] = []
    size = 0
    with txn.cursor(tables.records) as cursor:
        there = after < _TOP and cursor.set_range(POSITION_KEY.pack(after + 1))
        while there and len(records) < limit:
            try:
                record = checked_record(tables, cursor.key(), cursor.value()).record
            except JournalDamagedError:
                if records:
                    break  # the sound ones first; the next call begins with the damaged one
                raise
            size += len(record.frame)
            if records and size > max_bytes:
                break
            records.append(record)
            there = cursor.next()
    return records


def read_index(
    tables: Tables, txn: Reading, stream: int, from_sequence: int, limit: int, max_bytes: int
) -> list[Record]:
    """What :meth:`~mycelium.journal.protocol.Journal.read_stream` returns, of a stream by its number."""
    records: list[Record] = []
    size = 0
    with txn.cursor(tables.index) as cursor:
        there = _seek(tables, cursor, stream, max(from_sequence, 0))
        while there and len(records) < limit:
            try:
                found = _indexed(tables, txn, cursor, stream)
            except JournalDamagedError:
                if records:
                    break
                raise
            if found is None:
                break
            size += len(found.frame)
            if records and size > max_bytes:
                break
            records.append(found)
            there = cursor.next()
    return records


def _seek(tables: Tables, cursor: Cursor, stream: int, from_sequence: int) -> bool:
    """Go to the first frame of the stream, or of those after it, that ends at or beyond the sequence."""
    key = index_key(stream, from_sequence)
    there = cursor.set_range(key)
    if there and cursor.key() == key:
        return True
    if cursor.prev() if there else cursor.last():
        found = _index_entry(tables, cursor, stream)
        if found is not None and found[0] + found[1].count > from_sequence:
            return True
    return cursor.set_range(key)


def _index_entry(tables: Tables, cursor: Cursor, stream: int) -> tuple[int, IndexEntry] | None:
    """The sequence and the index entry under the cursor, None if it is of another stream."""
    try:
        number, sequence = unpack_index_key(cursor.key())
        return (sequence, unpack_index(cursor.key(), cursor.value())) if number == stream else None
    except BadValueError as error:
        raise JournalDamagedError(tables.path, f"index of stream {stream}: {error}") from None


def _indexed(tables: Tables, txn: Reading, cursor: Cursor, stream: int) -> Record | None:
    """The record that the index entry under the cursor leads to, None if it is of another stream."""
    found = _index_entry(tables, cursor, stream)
    if found is None:
        return None
    sequence, entry = found
    stored = stored_record(tables, txn, entry.position)
    if stored.stream != stream or stored.sequence != sequence:
        raise JournalDamagedError(
            tables.path,
            f"sequence {stored.sequence} of stream {stored.stream}, the index expects {sequence} of {stream}",
            position=entry.position,
        )
    return stored.record


def count_records(tables: Tables, txn: Reading) -> int:
    """How many frames are kept."""
    return txn.stat(tables.records)["entries"]


def first_position(tables: Tables, txn: Reading, last_position: int) -> int:
    """Position of the oldest record, one more than the last if there is none."""
    with txn.cursor(tables.records) as cursor:
        return int.from_bytes(cursor.key(), "big") if cursor.first() else last_position + 1


def find_time(tables: Tables, txn: Reading, time_ns: int, last_position: int) -> int:
    """What :meth:`~mycelium.journal.protocol.Journal.position_at` returns."""
    low, high = first_position(tables, txn, last_position), last_position + 1
    with txn.cursor(tables.records) as cursor:
        while low < high:
            middle = (low + high) // 2
            # Where positions are missing, the next that is there answers for them.
            if not cursor.set_range(POSITION_KEY.pack(middle)):
                high = middle
                continue
            record = checked_record(tables, cursor.key(), cursor.value())
            if record.arrived_ns >= time_ns:
                high = middle
            else:
                low = record.position + 1
        # The answer is the first position from here on at which there is a record.
        there = low <= last_position and cursor.set_range(POSITION_KEY.pack(low))
        return int.from_bytes(cursor.key(), "big") if there else last_position + 1


def find_position(tables: Tables, txn: Reading, state: StreamState, position: int) -> int:
    """What :meth:`~mycelium.journal.protocol.Journal.first_from` returns, of a stream with a frame there."""
    low, high = state.first_sequence, state.last_sequence + 1
    with txn.cursor(tables.index) as cursor:
        while low < high:
            middle = (low + high) // 2
            # The frame that begins at the middle or after it: of the stream's, or beyond it.
            if not cursor.set_range(index_key(state.number, middle)):
                high = middle
                continue
            found = _index_entry(tables, cursor, state.number)
            if found is None or found[1].position >= position:
                high = middle
            else:
                low = found[0] + 1
        found = _index_entry(tables, cursor, state.number) if cursor.set_range(index_key(state.number, low)) else None
        if found is not None:
            return found[0]
    raise JournalDamagedError(tables.path, f"index of stream {state.number}: nothing at or beyond position {position}")
