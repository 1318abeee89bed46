"""How long frames are kept, and what was removed because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern


class Cause:
    """Why frames were removed."""

    AGE = "expired by age"
    SIZE = "expired by size"


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
        stream: which.
        frames: how many frames.
        messages: how many messages they held.
        frame_bytes: their bytes.
    """

    cause: str
    stream: StreamKey
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
