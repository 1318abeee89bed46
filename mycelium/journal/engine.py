"""Transactions on the tables of a store: all or nothing, and what to do when there is no room.

LMDB writes new pages before it frees old ones. A store at its maximum could so not even be trimmed;
therefore work that makes room, or that needs next to none, may use a reserve: beyond the maximum, and on
the disk a file that is given back to it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import lmdb

from mycelium.journal.disk import DATA, Owner, examine, give_reserve, hold_reserve
from mycelium.journal.errors import JournalDamagedError, JournalFullError
from mycelium.journal.protocol import Durability
from mycelium.journal.tables import RESERVE_BYTES, Reading, Tables, translated
from mycelium.journal.writing import Writer

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """The open store of one process.

    Args:
        directory: where it is; made if it is not there.
        durability: how commits and syncs are done.
        max_bytes: what the file may take.
        thorough_bytes: a file up to this size is examined page by page.

    Raises:
        JournalError: it cannot be opened; each of its kinds.
    """

    def __init__(self, directory: Path, *, durability: Durability, max_bytes: int, thorough_bytes: int) -> None:
        self.path: str = str(directory)
        self.refused_full: int = 0
        self.syncs: int = 0
        self._max_bytes = max_bytes
        self._pins = durability is Durability.GROUP
        self._pin: lmdb.Transaction[bytes] | None = None
        self._directory = directory
        self._owner = Owner(directory)
        try:
            self.former_store: str = self._owner.former.store
            self._examine(directory, thorough_bytes)
            self.tables: Tables = Tables(
                directory, max_bytes=max_bytes, every_commit=durability is Durability.FRAME, create=True
            )
        except BaseException:
            self._owner.release(clean=False)
            raise
        hold_reserve(directory)

    def _examine(self, directory: Path, thorough_bytes: int) -> None:
        file = directory / DATA
        size = file.stat().st_size if file.exists() else 0
        if size:
            examine(directory, thorough=size <= thorough_bytes or self._owner.rebooted)
        elif self.former_store:
            raise JournalDamagedError(
                self.path, f"{DATA} is not there or empty, but this directory held store {self.former_store}"
            )

    def take(self, store: str) -> None:
        """Leave a note of which store this is, and who has it."""
        self._owner.take(store)

    def read(self, work: Callable[Concatenate[Tables, Reading, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` on one snapshot. It copies what it returns: the views end with the transaction.

        Raises:
            JournalDamagedError: LMDB met something that cannot be.
        """
        try:
            with self.tables.environment.begin(buffers=True) as txn:
                return work(self.tables, txn, *args, **kwargs)
        except lmdb.Error as error:
            raise translated(error, self.path, 0) from None

    def write(self, work: Callable[[Writer], T], wanted: int, *, reserve: int = 0) -> T:
        """Do ``work`` and commit it, all of it or nothing. It may be called again if there was no room.

        Args:
            work: what to do.
            wanted: bytes it stores, for the error.
            reserve: by how much it may exceed the maximum, in bytes; it then may also use what is held of the disk.

        Raises:
            JournalFullError: there is no room.
            JournalError: the disk failed.
        """
        try:
            try:
                return self._commit(work)
            except lmdb.Error as error:
                if not isinstance(translated(error, self.path, wanted), JournalFullError):
                    raise
            if reserve:
                return self._commit_with_reserve(work, reserve)
            self._release_freed()
            return self._commit(work)
        except lmdb.Error as error:
            failure = translated(error, self.path, wanted)
        self.refused_full += isinstance(failure, JournalFullError)
        self._revive()
        raise failure

    def _release_freed(self) -> None:
        """Make the pages usable that the last transaction freed, and those that the pinned snapshot holds.

        LMDB uses again what was freed before the last commit: another commit makes it so.
        """
        self._commit_with_reserve(Writer.touch, RESERVE_BYTES)
        if self._pins:
            self.sync()

    def _commit(self, work: Callable[[Writer], T]) -> T:
        with self.tables.environment.begin(write=True) as txn:
            return work(Writer(self.tables, txn))

    def _commit_with_reserve(self, work: Callable[[Writer], T], reserve: int) -> T:
        self._resize(self._max_bytes + reserve)
        give_reserve(self._directory)
        try:
            return self._commit(work)
        finally:
            # LMDB keeps it as large as what is in use, so that nothing is cut off.
            self._resize(self._max_bytes)
            hold_reserve(self._directory)

    def _resize(self, to: int) -> None:
        pinned = self._pin is not None
        self._unpin()  # no transaction may be open; nothing is committed before the next one
        self.tables.environment.set_mapsize(to)
        if pinned:
            self._pin = self.tables.environment.begin()

    def _revive(self) -> None:
        """After a failure that LMDB does not come back from in this environment, open another."""
        try:
            self.tables.environment.begin().abort()
        except lmdb.Error:
            self._unpin()
            self.tables.reopen()

    def sync(self) -> None:
        """Bring all that was committed to the disk.

        Raises:
            JournalError: the disk refuses.
        """
        try:
            self.tables.environment.sync(True)  # noqa: FBT003 - LMDB's own signature
        except lmdb.Error as error:
            raise translated(error, self.path, 0) from None
        self.syncs += 1
        if self._pins:
            self._unpin()
            self._pin = self.tables.environment.begin()

    def close(self, *, sync: bool) -> None:
        """Let go of everything, even if the sync fails."""
        clean = False
        try:
            if sync:
                self.sync()
                clean = True
        finally:
            self._unpin()
            self.tables.close()
            self._owner.release(clean=clean)

    def _unpin(self) -> None:
        if self._pin is not None:
            self._pin.abort()
            self._pin = None
