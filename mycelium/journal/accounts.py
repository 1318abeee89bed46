"""What durable readers leave behind: how far they are, by stream, as bytes that are theirs to understand.

In LMDB an account stands under the reader's name and the number of the stream. Numbers are never given twice, so the
account of a stream that was forgotten means nothing any more, also if the stream begins again. Looking for such
accounts whenever a stream is forgotten would make the trimming of a full disk write ever more pages; so a
reader that loads its accounts passes over them, and they go when it stores the next ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal.catalogue import Catalogue, Catalogued
from mycelium.journal.errors import JournalDamagedError
from mycelium.journal.protocol import MAX_ACCOUNT, MAX_READER_NAME
from mycelium.journal.reading import Cursor
from mycelium.journal.records import KNOWN, BadValueError, StoredAccount, account_key, unpack_account
from mycelium.journal.tables import ACCOUNTS_RESERVE_BYTES, Reading, Tables
from mycelium.journal.writing import Writer

P = ParamSpec("P")
T = TypeVar("T")


class MemoryAccounts(Catalogued):
    """Base of the journal in memory: accounts."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[StreamKey, bytes]] = {}

    def store_accounts(self, reader: str, accounts: Mapping[StreamKey, bytes]) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`. There is always room."""
        self._check_open()
        check_accounts(self._catalogue, reader, accounts)
        self._accounts.setdefault(reader, {}).update(accounts)

    def load_accounts(self, reader: str) -> dict[StreamKey, bytes]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        check_reader(reader)
        return dict(self._accounts.get(reader, {}))

    def knows_reader(self, reader: str) -> bool:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        check_reader(reader)
        return reader in self._accounts

    def readers(self) -> list[str]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return sorted(self._accounts, key=str.encode)

    def forget_reader(self, reader: str) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        check_reader(reader)
        self._accounts.pop(reader, None)

    def _forget_accounts(self, stream: StreamKey) -> None:
        for accounts in self._accounts.values():
            accounts.pop(stream, None)


class LmdbAccounts(Catalogued):
    """Base of the journal in LMDB: accounts."""

    def __init__(self) -> None:
        # Of forgotten streams, by reader: found when it loads, removed when it stores.
        self._gone: dict[str, tuple[int, ...]] = {}

    @abstractmethod
    def _read(self, work: Callable[Concatenate[Tables, Reading, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` on one snapshot."""

    @abstractmethod
    def _write(self, work: Callable[[Writer], T], wanted: int, *, reserve: int = 0) -> T:
        """Do ``work`` and commit it."""

    def store_accounts(self, reader: str, accounts: Mapping[StreamKey, bytes]) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        check_accounts(self._catalogue, reader, accounts)
        numbered = {self._catalogue.by_key[stream].number: account for stream, account in accounts.items()}
        gone = self._gone.get(reader, ())
        self._write(lambda writer: writer.accounts(reader, numbered, gone), 0, reserve=ACCOUNTS_RESERVE_BYTES)
        self._gone.pop(reader, None)

    def load_accounts(self, reader: str) -> dict[StreamKey, bytes]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        check_reader(reader)
        found = self._read(read_accounts, reader)
        known = {state.key: found.pop(state.number) for state in self._catalogue if state.number in found}
        if found:
            self._gone[reader] = tuple(found)
        return known

    def knows_reader(self, reader: str) -> bool:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        check_reader(reader)
        return self._read(knows_reader, reader)

    def readers(self) -> list[str]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        return self._read(read_names)

    def forget_reader(self, reader: str) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        check_reader(reader)
        self._write(lambda writer: writer.forget_reader(reader), 0, reserve=ACCOUNTS_RESERVE_BYTES)


def check_reader(reader: str) -> None:
    """Hold the name of a durable reader to what :meth:`~mycelium.journal.protocol.Journal.store_accounts` says.

    Raises:
        ValueError: it is wrong.
    """
    if not 1 <= len(reader.encode()) <= MAX_READER_NAME or "\0" in reader:
        raise ValueError(f"reader {reader!r}: a name has 1 to {MAX_READER_NAME} bytes, none of them 0")


def check_accounts(catalogue: Catalogue, reader: str, accounts: Mapping[StreamKey, bytes]) -> None:
    """Hold accounts to what :meth:`~mycelium.journal.protocol.Journal.store_accounts` says.

    Raises:
        ValueError: the name is wrong, a stream is not known, or an account is too long.
    """
    check_reader(reader)
    for stream, account in accounts.items():
        if stream not in catalogue.by_key:
            raise ValueError(
                f"account of reader {reader!r}: stream {stream.topic} of source {stream.source:#x}, "
                f"epoch {stream.epoch} is not known; only streams that the journal has can have one"
            )
        if len(account) > MAX_ACCOUNT:
            raise ValueError(
                f"account of reader {reader!r} for {stream.topic}: {len(account)} bytes, at most {MAX_ACCOUNT} are kept"
            )


def checked_account(key: memoryview | bytes, value: memoryview | bytes) -> StoredAccount:
    """An account from its key and value.

    Raises:
        BadValueError: it is not what was written.
    """
    stored = unpack_account(value)
    if account_key(stored.reader, stored.stream) != bytes(key):
        raise BadValueError(f"that of reader {stored.reader!r} for stream {stored.stream} stands in its place")
    return stored


def _account(tables: Tables, cursor: Cursor) -> StoredAccount:
    try:
        return checked_account(cursor.key(), cursor.value())
    except BadValueError as error:
        raise JournalDamagedError(tables.path, f"account {bytes(cursor.key())!r}: {error}") from None


def read_accounts(tables: Tables, txn: Reading, reader: str) -> dict[int, bytes]:
    """The accounts of a reader, by the number of their stream; also of streams that were forgotten."""
    found: dict[int, bytes] = {}
    with txn.cursor(tables.accounts) as cursor:
        there = cursor.set_range(account_key(reader))
        # The account beyond them is looked at too: it is one of them if its key was garbled.
        while there and (stored := _account(tables, cursor)).reader == reader:
            if stored.stream != KNOWN:
                found[stored.stream] = stored.account
            there = cursor.next()
    return found


def knows_reader(tables: Tables, txn: Reading, reader: str) -> bool:
    """Whether there is anything of a reader."""
    with txn.cursor(tables.accounts) as cursor:
        return cursor.set_range(account_key(reader)) and _account(tables, cursor).reader == reader


def read_names(tables: Tables, txn: Reading) -> list[str]:
    """The readers of which there is anything."""
    names: list[str] = []
    with txn.cursor(tables.accounts) as cursor:
        there = cursor.first()
        while there:
            names.append(_account(tables, cursor).reader)
            there = cursor.set_range(names[-1].encode() + b"\1")
    return names
