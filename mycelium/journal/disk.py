"""The directory of a store: who has it, and whether its file may be handed to LMDB.

LMDB maps its file into memory and trusts it: a page number that leads beyond the file's end kills the
process (SIGBUS), and so may a garbled page. Everything here therefore reads the file as a file, and
happens before LMDB sees it.

Theory of operation. ``owner`` is locked while the store is open and says who has it, in which boot
of the machine, and whether it was closed well. A killed process leaves the file whole, since the
kernel writes what it was given; a machine that lost power may not. So all pages are walked when the
last user did not close the store and the machine has started anew since, and also whenever the
file is small enough for that to take no time. What is always checked takes microseconds: both meta
pages, and that the file is as long as they say.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lmdb.verify import VerifyError, verify

from mycelium.journal.errors import JournalDamagedError, JournalError, JournalLockedError

DATA = "data.mdb"
OWNER = "owner"
RESERVE = "reserve"

# Given back to the disk when it is full, so that trimming and storing accounts go on: LMDB writes new
# pages before it frees any. 1 MiB is the worst case of SMALL_TRIM frames, each in pages of its own.
RESERVE_DISK_BYTES = 1 << 20

# What a walk over all pages does not notice at the start of a process: 64 MiB take about half a second.
DEFAULT_THOROUGH_BYTES = 64 << 20

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The note is overwritten in place and never grows, so that a full disk does not keep a store from opening.
_NOTE_BYTES = 256

_MAGIC = struct.pack("=I", 0xBEEFC0DE)
# From a meta page's magic: version u32, address and map size u64; two trees of 48 bytes, the first of
# which begins with the page size; last page and transaction u64. LMDB writes in the machine's order.
_META = struct.Struct("=4sIQQI44x48xQQ")
_HEADERS = (16, 24)
"""Bytes before the magic in LMDB 0.9 and 1.0."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the last user of a store left behind.

    Args:
        pid: its process.
        boot: the boot of the machine it ran in, ``""`` if that is not known.
        clean: whether it closed the store.
        store: the store's id, ``""`` before there was one.
    """

    pid: int | None = None
    boot: str = ""
    clean: bool = False
    store: str = ""


class Owner:
    """The lock of a store's directory, and the note in it.

    Args:
        directory: where the store is, or shall be.

    Raises:
        JournalLockedError: another process has it.
        JournalError: the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._path = str(directory)
        file = directory / OWNER
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(self._path, f"cannot be opened: {error.strerror}") from None
        self.former: Note = self._read()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise JournalLockedError(self._path, self.former.pid, str(file)) from None
        # Once more, now that nobody else writes.
        self.former = self._read()

    @property
    def rebooted(self) -> bool:
        """Whether the last user left the store open when the machine went down."""
        return not self.former.clean and (not self.former.boot or self.former.boot != _boot())

    def take(self, store: str) -> None:
        """Note that this process has the store.

        Raises:
            JournalError: the disk refuses.
        """
        self._write(Note(os.getpid(), _boot(), clean=False, store=store))

    def release(self, *, clean: bool) -> None:
        """Unlock. ``clean`` says that everything is on the disk."""
        try:
            if clean:
                self._write(replace(self._read(), clean=True))
        finally:
            os.close(self._fd)

    def _read(self) -> Note:
        raw = os.pread(self._fd, _NOTE_BYTES, 0)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            found = json.loads(raw)
            return Note(int(found["pid"]), str(found["boot"]), bool(found["clean"]), str(found["store"]))
        return Note()

    def _write(self, note: Note) -> None:
        text = json.dumps({"pid": note.pid, "boot": note.boot, "clean": note.clean, "store": note.store})
        try:
            os.pwrite(self._fd, text.encode().ljust(_NOTE_BYTES - 1) + b"\n", 0)
        except OSError as error:
            raise JournalError(self._path, f"{OWNER} cannot be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Metas:
    """What the meta pages of an LMDB file say.

    Args:
        page_bytes: the size of a page.
        last_page: number of the last page in use.
        transaction: the last one that was committed.
    """

    page_bytes: int
    last_page: int
    transaction: int

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read them.

        Raises:
            ValueError: they make no sense. The message says why.
            OSError: the file cannot be read.
        """
        with file.open("rb") as stream:
            head = stream.read(256)
            header = next((size for size in _HEADERS if head[size : size + 4] == _MAGIC), None)
            if header is None or len(head) < header + _META.size:
                raise ValueError("no LMDB meta page at the start of the file")
            page_bytes = _META.unpack_from(head, header)[4]
            if page_bytes not in (1 << power for power in range(8, 17)):
                raise ValueError(f"meta page 0 gives pages of {page_bytes} bytes")
            stream.seek(page_bytes)
            second = stream.read(header + _META.size)
        if len(second) < header + _META.size or second[header : header + 4] != _MAGIC:
            raise ValueError("no LMDB meta page 1")
        metas = [_META.unpack_from(raw, header)[5:] for raw in (head, second)]
        (_, older), (last_page, newer) = sorted(metas, key=lambda meta: meta[1])
        if newer - older > 1:
            # Commits take turns, so one of the two would have been overwritten: an older snapshot
            # must not pass for the newest.
            raise ValueError(f"meta pages of transactions {older} and {newer}, they must be neighbours")
        return cls(page_bytes, last_page, newer)


def examine(directory: Path, *, thorough: bool) -> None:
    """Make sure that LMDB can be given the file of a store.

    Args:
        directory: of the store.
        thorough: walk all pages, about 100 MB/s.

    Raises:
        JournalDamagedError: it cannot.
        JournalError: the file cannot be read.
    """
    file = directory / DATA
    try:
        metas = Metas.read(file)
        size = file.stat().st_size
        needed = (metas.last_page + 1) * metas.page_bytes
        if size < needed:
            raise ValueError(f"{DATA} has {size} bytes, its meta page needs {needed}: the end is missing")
        problems = page_problems(directory) if thorough else []
    except OSError as error:
        raise JournalError(str(directory), f"{DATA} cannot be read: {error.strerror}") from None
    except (ValueError, VerifyError) as error:
        raise JournalDamagedError(str(directory), str(error)) from None
    if problems:
        more = "" if len(problems) == 1 else f", and {len(problems) - 1} more"
        raise JournalDamagedError(str(directory), f"{problems[0]}{more}")


def page_problems(directory: Path) -> list[str]:
    """What is wrong with the pages of the file, read as a file; the walk that the lmdb package brings.

    Raises:
        VerifyError: it is not even a file of LMDB.
    """
    walk: Callable[[str], list[str]] = verify  # its only untyped function
    return walk(str(directory))


def hold_reserve(directory: Path) -> None:
    """Take the reserve from the disk, if it is not held and there is room."""
    file = directory / RESERVE
    with contextlib.suppress(OSError):
        if file.exists() and file.stat().st_size >= RESERVE_DISK_BYTES:
            return
        try:
            with file.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, RESERVE_DISK_BYTES)
        except OSError:
            file.unlink()


def give_reserve(directory: Path) -> None:
    """Give the reserve back to the disk."""
    with contextlib.suppress(OSError):
        (directory / RESERVE).unlink()


def free_bytes(path: str) -> int | None:
    """What the disk below a path has left for who is not root; None if it does not say."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
