"""What a store holds, read into memory at its start. What does not fit together is damage.

The cost is two looks into the index and one record per stream, about 12 µs, however many frames there are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mycelium.journal.catalogue import Catalogue, StreamState
from mycelium.journal.engine import Engine
from mycelium.journal.errors import JournalDamagedError, JournalVersionError
from mycelium.journal.reading import Cursor, checked_record, stored_record
from mycelium.journal.records import (
    FORMAT_VERSION,
    BadValueError,
    StoredState,
    StoredStream,
    index_key,
    unpack_index,
    unpack_index_key,
    unpack_state,
    unpack_stream,
)
from mycelium.journal.tables import STATE_KEY, Reading, Tables

_TOP = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found.

    Args:
        state: the store's own.
        catalogue: its streams.
        last_position: given last.
        last_arrived_ns: when the frame appended last arrived, in ns.
    """

    state: StoredState
    catalogue: Catalogue
    last_position: int
    last_arrived_ns: int


def begin(engine: Engine) -> Loaded:
    """Read what the store holds, make it if it was never begun, and note that this process has it.

    Raises:
        JournalVersionError: another version wrote it.
        JournalDamagedError: it does not fit together, or is not there any more.
        JournalFullError: there is no room to make it.
    """
    loaded = engine.read(load)
    if loaded is None:
        if engine.former_store:
            raise JournalDamagedError(engine.path, f"holds no state, but was store {engine.former_store}")
        state = StoredState(FORMAT_VERSION, 1, int.from_bytes(os.urandom(8), "little"), 0, 0, 0)
        engine.write(lambda writer: writer.state(state), 0)
        loaded = Loaded(state, Catalogue(), 0, 0)
    engine.take(f"{loaded.state.store_id:016x}")
    return loaded


def load(tables: Tables, txn: Reading) -> Loaded | None:
    """Read what the store holds, None if it was never begun.

    Raises:
        JournalVersionError: another version wrote it.
        JournalDamagedError: it does not fit together.
    """
    raw = txn.get(STATE_KEY, db=tables.meta)
    if raw is None:
        if any(txn.stat(db)["entries"] for db in (tables.records, tables.streams, tables.accounts, tables.meta)):
            raise JournalDamagedError(tables.path, "its state is missing")
        return None
    try:
        state = unpack_state(raw)
        if state.version != FORMAT_VERSION:
            raise JournalVersionError(tables.path, state.version, FORMAT_VERSION)
        catalogue = _catalogue(tables, txn)
    except BadValueError as error:
        raise JournalDamagedError(tables.path, str(error)) from None
    last_position, last_arrived_ns = state.last_position, state.last_arrived_ns
    with txn.cursor(tables.records) as cursor:
        if cursor.last():
            newest = checked_record(tables, cursor.key(), cursor.value())
            last_position = max(last_position, newest.position)
            last_arrived_ns = max(last_arrived_ns, newest.arrived_ns)
    frames, indexed = txn.stat(tables.records)["entries"], txn.stat(tables.index)["entries"]
    if frames != indexed:
        raise JournalDamagedError(tables.path, f"{frames} records, but {indexed} index entries")
    return Loaded(state, catalogue, last_position, last_arrived_ns)


def _catalogue(tables: Tables, txn: Reading) -> Catalogue:
    catalogue = Catalogue()
    with txn.cursor(tables.streams) as streams, txn.cursor(tables.index) as index:
        for key, value in streams.iternext():
            stored = unpack_stream(value)
            if stored.number != int.from_bytes(key, "big"):
                raise BadValueError(f"stream {stored.number} stands in the place of {int.from_bytes(key, 'big')}")
            catalogue.add(_stream(tables, txn, index, stored))
    return catalogue


def _stream(tables: Tables, txn: Reading, index: Cursor, stored: StoredStream) -> StreamState:
    state = StreamState(stored.number, stored.key)
    state.last_sequence, state.last_position = stored.last_sequence, stored.last_position
    state.clear()
    if not index.set_range(index_key(stored.number, 0)):
        return state
    number, sequence = unpack_index_key(index.key())
    if number != stored.number:
        return state
    first = unpack_index(index.key(), index.value())
    state.first_sequence, state.first_position, state.first_arrived_ns = sequence, first.position, first.arrived_ns
    state.bytes_before = first.bytes_upto - len(stored_record(tables, txn, first.position).frame)
    _ = index.prev() if index.set_range(index_key(stored.number, _TOP)) else index.last()
    _, sequence = unpack_index_key(index.key())
    last = unpack_index(index.key(), index.value())
    newest = stored_record(tables, txn, last.position)
    if (newest.stream, newest.sequence) != (stored.number, sequence):
        raise BadValueError(
            f"position {last.position} has sequence {newest.sequence} of stream {newest.stream}, "
            f"the index expects {sequence} of {stored.number}"
        )
    state.last_sequence, state.last_position = sequence + last.count - 1, last.position
    state.bytes_upto = last.bytes_upto
    return state
