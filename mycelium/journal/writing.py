"""What a transaction does to the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal.catalogue import Catalogue, StreamState
from mycelium.journal.errors import JournalDamagedError
from mycelium.journal.protocol import Entry
from mycelium.journal.records import (
    KNOWN,
    NUMBER_KEY,
    POSITION_KEY,
    BadValueError,
    IndexEntry,
    StoredAccount,
    StoredState,
    StoredStream,
    account_key,
    index_key,
    pack_account,
    pack_index,
    pack_record,
    pack_state,
    pack_stream,
    unpack_index,
    unpack_index_key,
)
from mycelium.journal.retention import Dropped
from mycelium.journal.tables import STATE_KEY, Tables, Writing


class Batch:
    """Frames on their way into the store: what goes into the tables, and what is known of streams afterwards.

    Args:
        catalogue: the streams before.
        next_number: for the first stream that begins.
        last_arrived_ns: when the last frame before arrived, in ns.
    """

    __slots__ = ("_catalogue", "_index", "_placed", "_upto", "begun", "last_arrived_ns", "next_number")

    def __init__(self, catalogue: Catalogue, next_number: int, last_arrived_ns: int) -> None:
        self.begun: dict[StreamKey, StreamState] = {}
        self.next_number: int = next_number
        self.last_arrived_ns: int = last_arrived_ns
        self._catalogue = catalogue
        self._upto: dict[StreamKey, int] = {}
        self._placed: list[tuple[StreamState, Entry, int, int]] = []
        self._index: list[tuple[bytes, bytes]] = []

    def add(self, position: int, entry: Entry) -> None:
        """One frame more."""
        if entry.arrived_ns > self.last_arrived_ns:
            self.last_arrived_ns = entry.arrived_ns
        key = entry.stream
        state = self._catalogue.by_key.get(key) or self.begun.get(key) or self.begin(key)
        upto = self._upto[key] = self._upto.get(key, state.bytes_upto) + len(entry.frame)
        at = index_key(state.number, entry.sequence)
        self._index.append((at, pack_index(at, position, self.last_arrived_ns, upto, entry.count)))
        self._placed.append((state, entry, position, self.last_arrived_ns))

    def begin(self, key: StreamKey) -> StreamState:
        """One stream more."""
        state = self.begun[key] = StreamState(self.next_number, key)
        self.next_number += 1
        return state

    def store(self, writer: Writer, state: StoredState) -> None:
        """Put it into the tables."""
        if self._placed:
            writer.frames(self._placed, sorted(self._index))
        for stream in self.begun.values():
            writer.stream(stream)
        if self.begun:
            writer.state(replace(state, next_number=self.next_number))

    def done(self) -> None:
        """It is stored: the streams have moved on."""
        for state in self.begun.values():
            self._catalogue.add(state)
        for state, entry, position, arrived_ns in self._placed:
            state.extend(entry, position, arrived_ns)
            self._catalogue.appended_to(state)


class Writer:
    """Changes the tables within one transaction.

    Args:
        tables: the tables.
        txn: the transaction.
    """

    __slots__ = ("_tables", "_transaction", "_txn")

    def __init__(self, tables: Tables, txn: Writing) -> None:
        self._tables = tables
        self._txn = txn
        self._transaction = txn.id()

    def frames(self, placed: list[tuple[StreamState, Entry, int, int]], index: list[tuple[bytes, bytes]]) -> None:
        """Add frames at the end, with stream, position and arrival, and their index entries."""
        tables, txn, transaction = self._tables, self._txn, self._transaction
        records = [
            (
                POSITION_KEY.pack(position),
                pack_record(position, arrived_ns, transaction, state.number, entry.count, entry.sequence, entry.frame),
            )
            for state, entry, position, arrived_ns in placed
        ]
        if len(records) == 1:  # two cursors would cost more than two values
            txn.put(*records[0], db=tables.records, append=True)
            txn.put(*index[0], db=tables.index)
            return
        with txn.cursor(tables.records) as cursor:
            cursor.putmulti(records, append=True)
        with txn.cursor(tables.index) as cursor:
            cursor.putmulti(index)

    def stream(self, state: StreamState) -> None:
        """Keep a stream's name and how far it came."""
        stored = StoredStream(state.number, state.key, self._transaction, state.last_sequence, state.last_position)
        self._txn.put(NUMBER_KEY.pack(state.number), pack_stream(stored), db=self._tables.streams)

    def forget(self, state: StreamState) -> None:
        """Remove a stream."""
        self._txn.delete(NUMBER_KEY.pack(state.number), db=self._tables.streams)

    def accounts(self, reader: str, accounts: Mapping[int, bytes], gone: Iterable[int]) -> None:
        """Keep a reader and its accounts by stream number; remove those of streams that are gone."""
        txn, table = self._txn, self._tables.accounts
        known = pack_account(StoredAccount(reader, KNOWN, self._transaction, b""))
        txn.put(account_key(reader), known, db=table, overwrite=False)
        for number, account in accounts.items():
            stored = StoredAccount(reader, number, self._transaction, account)
            txn.put(account_key(reader, number), pack_account(stored), db=table)
        for number in gone:
            txn.delete(account_key(reader, number), db=table)

    def forget_reader(self, reader: str) -> None:
        """Remove a reader and its accounts."""
        prefix = account_key(reader)[: -NUMBER_KEY.size]
        with self._txn.cursor(self._tables.accounts) as cursor:
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                there = cursor.delete()

    def state(self, state: StoredState) -> None:
        """Keep what the store remembers of itself."""
        self._txn.put(STATE_KEY, pack_state(replace(state, transaction=self._transaction)), db=self._tables.meta)

    def touch(self) -> None:
        """Make this a transaction that writes, and change nothing."""
        raw = self._txn.get(STATE_KEY, db=self._tables.meta)
        if raw is not None:
            self._txn.put(STATE_KEY, raw, db=self._tables.meta)

    def remove(self, stream: int, frames: Iterable[tuple[int, int]]) -> None:
        """Remove frames of a stream, by sequence and position. Those that are not there are no error."""
        tables, txn = self._tables, self._txn
        for sequence, position in frames:
            txn.delete(index_key(stream, sequence), db=tables.index)
            txn.delete(POSITION_KEY.pack(position), db=tables.records)

    def drop_first(self, state: StreamState) -> Dropped:
        """Remove the oldest frame of a stream, and move the stream's first frame on.

        Raises:
            JournalDamagedError: the index has not what the stream says.
        """
        tables, txn = self._tables, self._txn
        with txn.cursor(tables.index) as cursor:
            key = index_key(state.number, state.first_sequence)
            try:
                if not cursor.set_key(key):
                    raise BadValueError(f"no index entry for sequence {state.first_sequence} of stream {state.number}")
                entry = unpack_index(key, cursor.value())
                cursor.delete()
                txn.delete(POSITION_KEY.pack(entry.position), db=tables.records)
                size = entry.bytes_upto - state.bytes_before
                _advance(state, entry, cursor.key(), cursor.value())
            except BadValueError as error:
                raise JournalDamagedError(tables.path, str(error), position=state.first_position) from None
        return Dropped(entry.count, size)


def _advance(state: StreamState, gone: IndexEntry, key: bytes, value: bytes) -> None:
    state.bytes_before = gone.bytes_upto
    stream, sequence = unpack_index_key(key) if key else (0, 0)
    if stream != state.number:
        state.clear()
        return
    following = unpack_index(key, value)
    state.first_sequence = sequence
    state.first_position = following.position
    state.first_arrived_ns = following.arrived_ns
