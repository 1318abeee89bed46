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
from types import MappingProxyType
from typing import Protocol

import msgspec

from mycelium.core.topics import Pattern

MAX_CURSORS = 10_000
"""Cursors a journal keeps. Chosen by us: ten times the subscribers the fabric is built for, still under 1 MB."""

MAX_CURSOR_NAME = 255
"""Bytes in the name of a cursor, as in a topic."""


class Durability(enum.Enum):
    """What an appended frame survives."""

    PROCESS = "process"
    """The end of the process, however it ends. Not the loss of power."""
    GROUP = "group"
    """The loss of power, up to ``synced_position``; confirms wait for it."""
    FRAME = "frame"
    """The loss of power, once ``append`` has returned."""


class Cause:
    """Why frames were removed."""

    AGE = "expired by age"
    SIZE = "expired by size"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A frame to append.

    Args:
        source: hash of the publisher's name.
        epoch: the publisher's incarnation.
        topic: the topic.
        sequence: of the frame's first message, from 1.
        count: messages in the frame, at least 1.
        arrived_ns: when it arrived. A time before that of the frame appended last is stored as that one's.
        frame: all its bytes.
    """

    source: int
    epoch: int
    topic: str
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


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """How far one stream reaches.

    Args:
        source, epoch, topic: the stream.
        first_sequence: the first message that is kept; one more than ``last_sequence`` if none is.
        last_sequence: the last message appended.
        last_position: of the frame that holds it.
        kept_bytes: bytes of the frames that are kept.
    """

    source: int
    epoch: int
    topic: str
    first_sequence: int
    last_sequence: int
    last_position: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class TopicRetention:
    """How long the frames of some topics are kept.

    Args:
        pattern: which topics.
        max_age_ns: kept at most so long, in ns; None for the journal's own.
        max_bytes: kept at most so many bytes of frames, all topics of the pattern together; None for no limit.
    """

    pattern: Pattern
    max_age_ns: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long frames are kept.

    Args:
        max_age_ns: of topics without an age of their own, in ns; None for ever.
        max_bytes: bytes of frames, all topics together; None for no limit.
        topics: rules by pattern; the first whose pattern matches a topic applies.
        keep_streams: streams of which no frame is kept are remembered, for the refusal of
            duplicates, up to this number; then the longest silent are forgotten.
    """

    max_age_ns: int | None = None
    max_bytes: int | None = None
    topics: tuple[TopicRetention, ...] = ()
    # Ten incarnations of each of 5,000 topics: far beyond what a publisher may send again.
    keep_streams: int = 50_000


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed of one stream for one cause.

    Args:
        cause: one of :class:`Cause`.
        source, epoch, topic: the stream.
        frames: how many frames.
        messages: how many messages they held.
        frame_bytes: their bytes.
    """

    cause: str
    source: int
    epoch: int
    topic: str
    frames: int
    messages: int
    frame_bytes: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a call of :meth:`Journal.trim` removed.

    Args:
        removals: by cause and stream. Every removed frame is in exactly one result.
        more: whether the limit ended the work; call again.
    """

    removals: tuple[Removal, ...] = ()
    more: bool = False

    @property
    def frames(self) -> int:
        """Frames removed."""
        return sum(removal.frames for removal in self.removals)

    @property
    def messages(self) -> Mapping[str, int]:
        """Messages removed, by cause."""
        totals: dict[str, int] = {}
        for removal in self.removals:
            totals[removal.cause] = totals.get(removal.cause, 0) + removal.messages
        return MappingProxyType(totals)


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """A journal at one moment. Counts are since it was opened, all else is what is stored.

    Args:
        frames: frames kept.
        frame_bytes: their bytes.
        streams: streams known, also those of which no frame is kept.
        cursors: cursors kept.
        first_position: of the oldest frame kept; one more than ``last_position`` if none is.
        last_position: given last.
        synced_position: up to where frames are as durable as the setting promises.
        stored_bytes: what the store takes on disk or in memory.
        max_bytes: what it may take.
        appended: frames appended.
        refused_full: batches refused for want of room.
        syncs: explicit syncs to the disk.
        removed: frames removed, by cause.
    """

    frames: int
    frame_bytes: int
    streams: int
    cursors: int
    first_position: int
    last_position: int
    synced_position: int
    stored_bytes: int
    max_bytes: int
    appended: int
    refused_full: int
    syncs: int
    removed: Mapping[str, int]


class Journal(Protocol):
    """Keeps frames in the order in which they were appended.

    Every method but ``close`` and ``statistics`` raises :class:`~mycelium.core.errors.ClosedError` after
    ``close``, and may raise :class:`~mycelium.journal.errors.JournalDamagedError`.
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

    def read_stream(
        self, source: int, epoch: int, topic: str, from_sequence: int, *, limit: int, max_bytes: int
    ) -> list[Record]:
        """The frames of one stream that hold any message from ``from_sequence`` on.

        ``limit``, ``max_bytes`` and damage are as in :meth:`read`. An unknown stream has no frames.
        """
        ...

    def streams(self, pattern: Pattern | None = None) -> list[Watermark]:
        """How far each known stream reaches, in the order in which the streams began."""
        ...

    def last_sequence(self, source: int, epoch: int, topic: str) -> int:
        """The last message appended of a stream, 0 if it is not known. One look into a dictionary."""
        ...

    def position_at(self, time_ns: int) -> int:
        """Position of the first kept frame that arrived at ``time_ns`` or later; ``last_position + 1`` if none did."""
        ...

    def latest(self, topic: str) -> Record | None:
        """The last frame of a topic, whoever published it, if it is kept."""
        ...

    def load_cursor(self, name: str) -> int | None:
        """The position stored under ``name``, if there is one."""
        ...

    def store_cursors(self, cursors: Mapping[str, int | None]) -> None:
        """Store positions under names, all or none. None removes a cursor.

        Raises:
            JournalFullError: there is no room, or there would be more than :data:`MAX_CURSORS`.
            ValueError: a name is empty or has more than :data:`MAX_CURSOR_NAME` bytes, or a position is
                outside 0 to 2**64 - 1.
        """
        ...

    def cursors(self) -> Mapping[str, int]:
        """All cursors."""
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


def check_cursors(cursors: Mapping[str, int | None]) -> None:
    """Hold names and positions to what :meth:`Journal.store_cursors` says.

    Raises:
        ValueError: one of them is wrong.
    """
    for name, position in cursors.items():
        if not 1 <= len(name.encode()) <= MAX_CURSOR_NAME:
            raise ValueError(f"cursor {name!r}: a name has 1 to {MAX_CURSOR_NAME} bytes")
        if position is not None and not 0 <= position < 1 << 64:
            raise ValueError(f"cursor {name!r}: position {position} is not in 0 to 2**64 - 1")
