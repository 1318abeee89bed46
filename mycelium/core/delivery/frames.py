"""What the machines of delivery speak about."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number that a peer may say where sequences, counts and times stand: small enough to calculate with, and to keep."""


class StreamKey(NamedTuple):
    """One publisher incarnation on one topic.

    Args:
        source: hash of the publishing service instance's name.
        epoch: its incarnation, ns since the Unix epoch at its start.
        topic: the topic.
    """

    source: int
    epoch: int
    topic: str


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A run of messages of one stream, as it travels and as it is kept.

    Args:
        stream: whose messages.
        sequence: of the first message, from 1.
        count: how many messages, from 1; they follow without holes.
        data: all bytes of the frame; at a reader, what it has made of them.
    """

    stream: StreamKey
    sequence: int
    count: int
    data: Any

    @property
    def last(self) -> int:
        """Sequence of the last message."""
        return self.sequence + self.count - 1


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """How far a stream reaches in the store.

    Args:
        stream: which.
        first: sequence of the oldest message that is still kept; above ``last`` if none is.
        last: sequence of the newest message.
    """

    stream: StreamKey
    first: int
    last: int


class Account(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How far a reader is with one stream: what it goes on from, and its side of the books.

    Args:
        joined: the last message before the first one that was for this reader.
        cursor: the last message that the reader is done with.
        delivered: how many of those since ``joined`` were handed to it.
        dropped: how many were not, by cause.
    """

    joined: Natural
    cursor: Natural
    delivered: Natural
    dropped: dict[str, Natural]

    @property
    def missing(self) -> int:
        """Messages that are not accounted for. 0 in a balanced book."""
        return self.cursor - self.joined - self.delivered - sum(self.dropped.values())
