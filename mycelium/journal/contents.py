"""All that can be read of a store, sound or not, for the tools.

Where the pages are sound, LMDB reads them, and a damaged record is one that fails its CRC. Where they
are not, LMDB must not see the file: it is searched for sealed values, whatever trees once led to
them. What is found so may be out of date, and is sorted out by what every value says of itself:

- of several versions of a value the one of the latest transaction counts;
- a value of a transaction beyond the last committed one never came to be;
- transactions and arrivals rise with positions, so a record that is older than one before it was
  left by an append that failed;
- a record of a stream that was emptied since was removed by the retention.

Frames that the retention removed from a stream that still has others may come back; the next trim
removes them again. So may readers that were forgotten.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
from lmdb.verify import VerifyError

from mycelium.journal.accounts import checked_account
from mycelium.journal.disk import DATA, Metas, Owner, page_problems
from mycelium.journal.errors import JournalDamagedError, JournalError
from mycelium.journal.reading import checked_record
from mycelium.journal.records import (
    MAGIC,
    BadValueError,
    StoredAccount,
    StoredRecord,
    StoredState,
    StoredStream,
    sealed_values,
    unpack_account,
    unpack_index,
    unpack_index_key,
    unpack_record,
    unpack_state,
    unpack_stream,
)
from mycelium.journal.tables import STATE_KEY, Reading, Tables, translated

# The search maps the whole file; LMDB maps what it is told to, at least the file.
_LEAST_MAP = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was written.

    Args:
        position: of the record, None where it is not a record.
        what: what was found.
    """

    position: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.position is None else f"record at position {self.position}: {self.what}"


@dataclass(slots=True)
class Contents:
    """What was found.

    Args:
        path: of the store.
        searched: whether the file had to be searched, because its pages are not sound.
        damage: what is wrong beside single records.
        streams: by number.
        accounts: by reader and stream number.
        state: the store's own, None if it was not found.
        total: records to come, about.
        records: the records in the order of their positions, and the damaged ones among them. Read it once.
    """

    path: str
    searched: bool = False
    damage: list[Damage] = field(default_factory=list)
    streams: dict[int, StoredStream] = field(default_factory=dict)
    accounts: dict[tuple[str, int], StoredAccount] = field(default_factory=dict)
    state: StoredState | None = None
    total: int = 0
    records: Iterator[StoredRecord | Damage] = field(default_factory=lambda: iter(()))


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Contents]:
    """The contents of a store, which nobody else may have open.

    Args:
        directory: of the store.

    Raises:
        JournalLockedError: a process has it open.
        JournalError: there is no store, or it cannot be read.
    """
    file = directory / DATA
    if not file.is_file():
        raise JournalError(str(directory), f"is no store: there is no {DATA}")
    owner = Owner(directory)
    try:
        contents = Contents(str(directory))
        try:
            contents.damage += [Damage(None, text) for text in _problems(directory)]
        except OSError as error:
            raise JournalError(str(directory), f"{DATA} cannot be read: {error.strerror}") from None
        contents.searched = bool(contents.damage)
        with _searched(file, contents) if contents.searched else _through_lmdb(directory, contents):
            yield contents
    finally:
        owner.release(clean=owner.former.clean)


def _problems(directory: Path) -> list[str]:
    file = directory / DATA
    try:
        metas = Metas.read(file)
        size, needed = file.stat().st_size, (metas.last_page + 1) * metas.page_bytes
        if size < needed:
            return [f"{DATA} has {size} bytes, its meta page needs {needed}: the end is missing"]
        return page_problems(directory)
    except (ValueError, VerifyError) as error:
        return [str(error)]


@contextlib.contextmanager
def _through_lmdb(directory: Path, contents: Contents) -> Iterator[None]:
    size = (directory / DATA).stat().st_size
    tables = Tables(directory, max_bytes=max(size, _LEAST_MAP), every_commit=False, create=False)
    try:
        with tables.environment.begin(buffers=True) as txn:
            _read_names(tables, txn, contents)
            _check_index(tables, txn, contents)
            contents.total = txn.stat(tables.records)["entries"]
            contents.records = _table_records(tables, txn)
            yield
    except lmdb.Error as error:
        raise translated(error, str(directory), 0) from None
    finally:
        tables.close()


def _read_names(tables: Tables, txn: Reading, contents: Contents) -> None:
    raw = txn.get(STATE_KEY, db=tables.meta)
    try:
        contents.state = None if raw is None else unpack_state(raw)
    except BadValueError as error:
        contents.damage.append(Damage(None, f"state: {error}"))
    if raw is None:
        contents.damage.append(Damage(None, "the state is missing"))
    with txn.cursor(tables.streams) as streams, txn.cursor(tables.accounts) as accounts:
        for key, value in streams.iternext():
            try:
                stream = unpack_stream(value)
                contents.streams[stream.number] = stream
            except BadValueError as error:
                contents.damage.append(Damage(None, f"stream {int.from_bytes(key, 'big')}: {error}"))
        for key, value in accounts.iternext():
            try:
                account = checked_account(key, value)
                contents.accounts[account.reader, account.stream] = account
            except BadValueError as error:
                contents.damage.append(Damage(None, f"account {bytes(key)!r}: {error}"))


def _check_index(tables: Tables, txn: Reading, contents: Contents) -> None:
    frames, indexed = txn.stat(tables.records)["entries"], txn.stat(tables.index)["entries"]
    if frames != indexed:
        contents.damage.append(Damage(None, f"{frames} records, but {indexed} index entries"))
    with txn.cursor(tables.index) as index:
        for key, value in index.iternext():
            try:
                stream, sequence = unpack_index_key(key)
                position = unpack_index(key, value).position
            except BadValueError as error:
                contents.damage.append(Damage(None, str(error)))
                continue
            if txn.get(position.to_bytes(8, "big"), db=tables.records) is None:
                contents.damage.append(Damage(position, f"missing; sequence {sequence} of stream {stream}"))


def _table_records(tables: Tables, txn: Reading) -> Iterator[StoredRecord | Damage]:
    with txn.cursor(tables.records) as cursor:
        for key, value in cursor.iternext():
            try:
                yield checked_record(tables, key, value)
            except JournalDamagedError as error:
                yield Damage(error.position, error.what)


@contextlib.contextmanager
def _searched(file: Path, contents: Contents) -> Iterator[None]:
    with file.open("rb") as stream:
        if not file.stat().st_size:
            yield
            return
        # The file is locked and nobody shortens it; a page of it that cannot be read is a failing disk.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            places = _search(data, view, contents, _committed(file))
            contents.total = len(places)
            contents.records = _placed_records(view, places, contents.streams)
            try:
                yield
            finally:
                contents.records = iter(())


def _committed(file: Path) -> int:
    try:
        return Metas.read(file).transaction
    except ValueError:
        return (1 << 64) - 1


_Place = tuple[int, int, int, int]
"""Transaction, arrival, offset, length: in this order, the greatest is the newest."""


def _search(data: mmap.mmap, view: memoryview, contents: Contents, committed: int) -> dict[int, _Place]:
    """Where the newest version of each record is; the other kinds go into ``contents``."""
    places: dict[int, _Place] = {}
    for offset, kind, value in sealed_values(view, _occurrences(data)):
        with contextlib.suppress(BadValueError):
            if kind == b"r":
                record = unpack_record(value)
                place = (record.transaction, record.arrived_ns, offset, len(value))
                if record.transaction <= committed and place > places.get(record.position, (0, 0, 0, 0)):
                    places[record.position] = place
            elif kind == b"s":
                stream = unpack_stream(value)
                if stream.transaction <= committed and _newer(stream, contents.streams.get(stream.number)):
                    contents.streams[stream.number] = stream
            elif kind == b"a":
                account = unpack_account(value)
                key = account.reader, account.stream
                if account.transaction <= committed and _newer(account, contents.accounts.get(key)):
                    contents.accounts[key] = account
            else:
                state = unpack_state(value)
                if state.transaction <= committed and _newer(state, contents.state):
                    contents.state = state
        value.release()
    return places


def _newer(
    found: StoredStream | StoredAccount | StoredState, held: StoredStream | StoredAccount | StoredState | None
) -> bool:
    return held is None or found.transaction > held.transaction


def _occurrences(data: mmap.mmap) -> Iterator[int]:
    at = data.find(MAGIC)
    while at >= 0:
        yield at
        at = data.find(MAGIC, at + 1)


def _placed_records(
    view: memoryview, places: dict[int, _Place], streams: dict[int, StoredStream]
) -> Iterator[StoredRecord]:
    newest = (0, 0)
    for position in sorted(places):
        transaction, arrived_ns, offset, length = places[position]
        if (transaction, arrived_ns) < newest:
            continue
        with view[offset : offset + length] as value:
            record = unpack_record(value)
        stream = streams.get(record.stream)
        if stream is not None and position <= stream.last_position:
            continue
        newest = (transaction, arrived_ns)
        yield record
