"""An open LMDB environment with the tables of a store, and what its errors mean.

=========  ===========================  ==============================================================
table      key                          value
=========  ===========================  ==============================================================
records    position u64                 a sealed record
index      stream u32, sequence u64     position, arrival, running total, count and a CRC
streams    stream u32                   a sealed stream
accounts   reader's name, 0, stream u32  a sealed account
meta       ``state``                    the sealed state
=========  ===========================  ==============================================================
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TypeAlias

import lmdb

from mycelium.journal.errors import JournalDamagedError, JournalError, JournalFullError

TABLES = (b"records", b"index", b"streams", b"accounts", b"meta")
STATE_KEY = b"state"

# As text: the classes of lmdb take parameters in its stubs alone.
Writing: TypeAlias = "lmdb.Transaction[bytes]"
Reading: TypeAlias = "lmdb.Transaction[memoryview]"

# Trimming and storing accounts write pages before they free any: a store that is full to its maximum
# may exceed it by this much for them. Chosen by us: eight times what SMALL_TRIM frames take at worst.
RESERVE_BYTES = 8 << 20

# Accounts, of which there may be ever more, must leave enough for what makes room.
ACCOUNTS_RESERVE_BYTES = RESERVE_BYTES // 2

# LMDB's own tables, the lists of free pages and a few frames do not fit into less.
LEAST_BYTES = 1 << 20


class Tables:
    """The environment. LMDB may be given the file: :func:`mycelium.journal.disk.examine` has said so.

    Args:
        directory: of the store.
        max_bytes: what the file may take. Address space is reserved for it; the file grows by itself.
        every_commit: whether each commit waits for the disk.
        create: whether missing tables are made.

    Raises:
        JournalError: it cannot be opened; see :func:`translated`.
    """

    def __init__(self, directory: Path, *, max_bytes: int, every_commit: bool, create: bool) -> None:
        self.path: str = str(directory)
        self._max_bytes = max_bytes
        self._every_commit = every_commit
        self._create = create
        self.reopen()

    def reopen(self) -> None:
        """Open the environment, closing it first if it is open.

        Raises:
            JournalError: it cannot be opened.
        """
        self.close()
        try:
            self.environment: lmdb.Environment = lmdb.open(
                self.path,
                map_size=self._max_bytes,
                # Not writemap: with it a full disk is a signal that kills the process, and a stray
                # write in any library of the process reaches the file.
                writemap=False,
                sync=self._every_commit,
                metasync=self._every_commit,
                max_dbs=len(TABLES),
                max_spare_txns=2,
                mode=0o600,
            )
        except lmdb.Error as error:
            raise translated(error, self.path, 0) from None
        try:
            databases = [self.environment.open_db(name, create=self._create) for name in TABLES]
        except lmdb.Error as error:
            self.environment.close()
            raise translated(error, self.path, 0) from None
        records, index, streams, accounts, meta = databases
        self.records: lmdb._Database = records
        self.index: lmdb._Database = index
        self.streams: lmdb._Database = streams
        self.accounts: lmdb._Database = accounts
        self.meta: lmdb._Database = meta

    @property
    def stored_bytes(self) -> int:
        """What the file takes, in bytes."""
        environment = self.environment
        return (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]

    def close(self) -> None:
        """Let go of the file. What was committed is with the kernel."""
        if hasattr(self, "environment"):
            self.environment.close()


def translated(error: lmdb.Error, path: str, wanted: int) -> JournalError:
    """What an error of LMDB means to the caller.

    Args:
        error: the error.
        path: of the store.
        wanted: bytes that were to be stored.
    """
    code = getattr(error, "code", 0)
    if isinstance(error, lmdb.MapFullError):
        return JournalFullError(path, wanted, "the journal has reached its max_bytes; trim it or raise max_bytes")
    if code in (errno.ENOSPC, errno.EDQUOT) or (code == errno.EIO and _disk_is_full(path, wanted)):
        return JournalFullError(path, wanted, "the disk is full; the journal goes on when there is room")
    if code > 0:
        return JournalError(path, f"{error}: {os.strerror(code)}")
    return JournalDamagedError(path, str(error))


def _disk_is_full(path: str, wanted: int) -> bool:
    """LMDB reports a write that was cut short as an I/O error: a disk that filled up within it."""
    try:
        return shutil.disk_usage(path).free < max(wanted, 1 << 16)
    except OSError:
        return False
