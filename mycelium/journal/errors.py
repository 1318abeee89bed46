"""The journal's part of the error tree. Each carries what a program or a person needs to go on.

::

    JournalError                  the journal at this path could not do its work
    ├── JournalFullError              no room; nothing of the batch was stored; works again when there is room
    ├── JournalDamagedError           what is stored cannot be trusted; names the command that salvages it
    ├── JournalLockedError            another process has it open
    ├── JournalVersionError           written by a version that this one does not read
    └── JournalOrderError             the caller appended a sequence that its stream has passed
"""

from __future__ import annotations

import shlex

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import MyceliumError


class JournalError(MyceliumError):
    """A journal could not do its work.

    Args:
        path: where it is stored, ``"memory"`` for one that is not.
        reason: what failed, and what would help.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"journal {path}: {reason}")
        self.path = path
        self.reason = reason


class JournalFullError(JournalError):
    """There is no room. Nothing of what was to be stored is stored; the same call works when there is room.

    Args:
        path: where it is stored.
        wanted: bytes that were to be stored, 0 where that is not known.
        limit: what has no room left: the journal's own maximum or the disk.
    """

    def __init__(self, path: str, wanted: int, limit: str) -> None:
        super().__init__(path, f"no room for {wanted} bytes: {limit}")
        self.wanted = wanted
        self.limit = limit


class JournalDamagedError(JournalError):
    """What is stored is not what was written.

    Args:
        path: where it is stored.
        what: what was found, and what was expected.
        position: of the damaged record, None where the damage is not in one record.
    """

    def __init__(self, path: str, what: str, *, position: int | None = None) -> None:
        self.what = what
        self.position = position
        self.command: str = salvage_command(path)
        where = "" if position is None else f"record at position {position}: "
        super().__init__(path, f"damaged: {where}{what}; what is readable can be saved with: {self.command}")


class JournalLockedError(JournalError):
    """Another process has the journal open.

    Args:
        path: where it is stored.
        pid: of the process that has it, None if it left no note.
        lock: the file that is locked.
    """

    def __init__(self, path: str, pid: int | None, lock: str) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(path, f"is open in {holder} (lock {lock}); end that one first, or use another directory")
        self.pid = pid
        self.lock = lock


class JournalVersionError(JournalError):
    """The store was written by a version that this one does not read.

    Args:
        path: where it is stored.
        found: the version of its format.
        known: the version that this program reads.
    """

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(path, f"has format version {found}, this program reads {known}; use the one that wrote it")
        self.found = found
        self.known = known


class JournalOrderError(JournalError):
    """An appended frame starts at a sequence that its stream has passed. Nothing of its batch is stored.

    Args:
        path: where it is stored.
        stream: the stream.
        sequence: of the frame's first message.
        last_sequence: the last that the journal has of this stream.
    """

    def __init__(self, path: str, stream: StreamKey, sequence: int, last_sequence: int) -> None:
        super().__init__(
            path,
            f"stream {stream.topic} of source {stream.source:#x}, epoch {stream.epoch}: a frame starts at "
            f"sequence {sequence}, but {last_sequence} is stored; refuse duplicates before appending",
        )
        self.stream = stream
        self.sequence = sequence
        self.last_sequence = last_sequence


def salvage_command(path: str) -> str:
    """The command line that saves what is readable of the store at ``path``."""
    return f"mycelium journal salvage {shlex.quote(path)} --out {shlex.quote(path.rstrip('/') + '.salvaged')}"
