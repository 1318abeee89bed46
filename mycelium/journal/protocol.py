"""What a journal promises, and the values that go in and come out.

A journal keeps frames before they count as published, and is what repairs, late joiners, durable
readers and replays read. Every frame gets a *position*: from 1, one higher per frame, never given
twice, also not after trimming or a restart. A stream's frames are appended in order, so positions
and sequences rise together. Reading never waits and never returns more than it was asked for.

A journal belongs to one thread. Times are ns since the Unix epoch and are passed in.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern
from mycelium.journal.keeping import Retention, Trimmed

MAX_ACCOUNT = 1_024
"""Bytes in an account: a reader's sequence takes eight, a group's state some more."""

MAX_READER_NAME = 128
"""Bytes in the name of a durable reader: its rows are found by it, and LMDB's keys are short."""


class Durability(enum.Enum):
    """What an appended frame survives."""

    PROCESS = "process"
    """The end of the process, however it ends. Not the loss of power."""
    GROUP = "group"
    """The loss of power, up to ``synced_position``; confirms wait for it."""
    FRAME = "frame"
    """The loss of power, once ``append`` has returned."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A frame to append.

    Args:
        stream: whose frame.
        sequence: of the frame's first message, from 1.
        count: messages in the frame, at least 1.
        arrived_ns: when it arrived. A time before that of the frame appended last is stored as that one's.
        frame: all its bytes.
    """

    stream: StreamKey
    sequence: int
    count: int
    arrived_ns: int
    frame: bytes


class Record(msgspec.Struct, frozen=True, gc=False):
    """A stored frame.

    Args:
        position: its place in the journal.
        arrived_ns: when it arrived; never earlier than that of the record before.
        frame: all its bytes.
    """

    position: int
    arrived_ns: int
    frame: bytes


class Extent(msgspec.Struct, frozen=True, gc=False):
    """How far one stream reaches in a journal.

    Args:
        stream: which.
        first: sequence of the first message that is kept; one more than ``last`` if none is.
        last: sequence of the last message appended.
        last_position: of the frame that holds it.
        kept_bytes: bytes of the frames that are kept.
    """

    stream: StreamKey
    first: int
    last: int
    last_position: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """A journal at one moment. Counts are since it was opened, all else is what is stored.

    Args:
        frames: frames kept.
        frame_bytes: their bytes.
        streams: streams known, also those of which no frame is kept.
        readers: durable readers known.
        first_position: of the oldest frame kept; one more than ``last_position`` if none is.
        last_position: given last.
        synced_position: up to where frames are as durable as the setting promises.
        stored_bytes: what the store takes on disk or in memory.
        max_bytes: what it may take.
        free_bytes: what the disk below it has left, None in memory.
        appended: frames appended.
        refused_full: batches refused for want of room.
        syncs: explicit syncs to the disk.
        removed: frames removed, by cause.
    """

    frames: int
    frame_bytes: int
    streams: int
    readers: int
    first_position: int
    last_position: int
    synced_position: int
    stored_bytes: int
    max_bytes: int
    free_bytes: int | None
    appended: int
    refused_full: int
    syncs: int
    removed: Mapping[str, int]


class Journal(Protocol):
    """Keeps frames in the order in which they were appended.

    Every method but ``close``, ``statistics`` and ``last_sequence`` raises
    :class:`~mycelium.core.errors.ClosedError` after ``close``, and may raise
    :class:`~mycelium.journal.errors.JournalDamagedError`.
    """

    @property
    def first_position(self) -> int:
        """Position of the oldest frame kept; ``last_position + 1`` if none is."""
        ...

    @property
    def last_position(self) -> int:
        """The position given last, 0 before the first."""
        ...

    @property
    def synced_position(self) -> int:
        """Frames up to here are as durable as the setting promises: confirm no further."""
        ...

    def append(self, entries: Sequence[Entry]) -> int:
        """Store a batch, all of it or nothing.

        Args:
            entries: in the order in which they shall stand.

        Returns:
            The position of the last entry; the others have those before it. ``last_position`` for an empty batch.

        Raises:
            JournalFullError: there is no room. The next call tries again.
            JournalOrderError: an entry starts at or before the last sequence of its stream.
            JournalError: the disk failed.
        """
        ...

    def read(self, after: int, *, limit: int, max_bytes: int) -> list[Record]:
        """Frames in the order of their positions.

        Args:
            after: the first frame is the first kept one beyond this position.
            limit: at most so many frames.
            max_bytes: at most so many bytes of frames, but always one frame, so that a reader gets on.

        Returns:
            Empty only if there is none beyond ``after``.

        Raises:
            JournalDamagedError: the first of them is damaged; those before a damaged one are returned
                first. Read on after its position.
        """
        ...

    def read_stream(self, stream: StreamKey, from_sequence: int, *, limit: int, max_bytes: int) -> list[Record]:
        """The frames of one stream that hold any message from ``from_sequence`` on.

        ``limit``, ``max_bytes`` and damage are as in :meth:`read`. An unknown stream has no frames.
        """
        ...

    def streams(self, pattern: Pattern | None = None) -> list[Extent]:
        """How far each known stream reaches, in the order in which the streams began."""
        ...

    def extent(self, stream: StreamKey) -> Extent | None:
        """How far a stream reaches, None if it is not known. One look into a dictionary."""
        ...

    def last_sequence(self, stream: StreamKey) -> int:
        """The last message appended of a stream, 0 if it is not known. One look into a dictionary."""
        ...

    def position_at(self, time_ns: int) -> int:
        """Position of the first kept frame that arrived at ``time_ns`` or later; ``last_position + 1`` if none did."""
        ...

    def latest(self, topic: str) -> Record | None:
        """The last frame of a topic, whoever published it, if it is kept."""
        ...

    def first_from(self, stream: StreamKey, position: int) -> int:
        """Where a stream is to be read from to get what stands at or beyond a position.

        Returns:
            The sequence of the first message of the stream's first kept frame there; if there is none, one more than
            the last sequence. 1 for a stream that is not known. The time it takes grows with the logarithm of the
            stream's length.
        """
        ...

    def store_accounts(self, reader: str, accounts: Mapping[StreamKey, bytes]) -> None:
        """Store how far a durable reader is, all of it or nothing. What other streams have stays as it is.

        Works also when ``append`` has no room, out of a reserve.

        Args:
            reader: its name, 1 to :data:`MAX_READER_NAME` bytes, none of them 0.
            accounts: what it left by stream, at most :data:`MAX_ACCOUNT` bytes each; the journal does not look
                into them. An empty mapping makes the reader known, and no more.

        Raises:
            JournalFullError: there is no room, nor in the reserve.
            ValueError: a stream is not known, a name is wrong, or an account is too long.
        """
        ...

    def load_accounts(self, reader: str) -> dict[StreamKey, bytes]:
        """What a reader stored last, by stream. The accounts of streams that were forgotten are gone with them.

        Raises:
            JournalDamagedError: one of them is not what was stored.
            ValueError: the name is wrong.
        """
        ...

    def knows_reader(self, reader: str) -> bool:
        """Whether a reader of this name has ever stored accounts, be it none, and was not forgotten."""
        ...

    def readers(self) -> list[str]:
        """The names of the known readers, in the order of their UTF-8."""
        ...

    def forget_reader(self, reader: str) -> None:
        """Remove a reader and all its accounts. A reader that is not known is no error."""
        ...

    def trim(self, now_ns: int, *, limit: int = 5_000) -> Trimmed:
        """Remove what the retention no longer keeps, oldest first.

        Args:
            now_ns: the time.
            limit: at most so many frames in this call, about 7 µs each.

        Returns:
            What was removed, also by the journal itself since the last call.

        Raises:
            JournalFullError: the disk has no room for the few pages that removing takes.
        """
        ...

    def retain(self, retention: Retention) -> None:
        """Keep frames by these rules from now on."""
        ...

    def sync(self) -> None:
        """Bring everything appended to the disk, whatever the durability."""
        ...

    def sync_if_due(self, now_ns: int) -> bool:
        """With durability ``group``, :meth:`sync` if its interval has passed since the last one.

        Returns:
            Whether ``synced_position`` may have moved.
        """
        ...

    def statistics(self) -> JournalStatistics:
        """The journal at this moment."""
        ...

    def close(self) -> None:
        """Bring everything to the disk and let go of it. May be called again."""
        ...
