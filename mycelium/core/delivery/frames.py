"""What the machines of delivery speak about."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


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
        data: all bytes of the frame.
    """

    stream: StreamKey
    sequence: int
    count: int
    data: bytes

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
