"""Where a reader begins with each stream.

A reader joins a store at a moment when live frames already flow. For each stream that the store knows then, the
rules below say which message is the first for this reader; a stream that the store does not know yet begins
with 1.

==============================  ============================================================
the reader                      begins with
==============================  ============================================================
has an account of the stream    the message after the last one that it has handled
is known, without an account    1: the stream has begun while the reader was away
comes first, ``earliest``       the oldest message that is kept
comes first, ``time``           the first message that arrived at that time or later
comes first, ``last_value``     the newest message of the topic, else what is published from now on
comes first, ``new``            what is published from now on
==============================  ============================================================
"""

from __future__ import annotations

import enum

import msgspec

from mycelium.core.delivery.frames import StreamKey, Watermark


class Start(enum.StrEnum):
    """Where a reader begins that has not been here before."""

    NEW = "new"
    """With what is published from now on."""
    EARLIEST = "earliest"
    """With the oldest message that the store keeps."""
    TIME = "time"
    """With the first message that arrived at a given time or later."""
    LAST_VALUE = "last_value"
    """With the newest message of each topic, then what is published from now on."""


class Place(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where a reader begins with one stream.

    Args:
        stream: which.
        first: sequence of the oldest message that is still kept; above ``last`` if none is.
        last: sequence of the newest message.
        begin: sequence of the first message for this reader.
    """

    stream: StreamKey
    first: int
    last: int
    begin: int


def place(
    mark: Watermark, start: Start, *, cursor: int | None, returns: bool, at_time: int = 0, is_newest: bool = False
) -> Place:
    """The rules at the top of this file.

    Args:
        mark: how far the stream reaches.
        start: the reader's wish.
        cursor: the last message that the reader has handled, if it has an account of the stream.
        returns: whether the store knows the reader.
        at_time: for ``time``: the first message that arrived then or later.
        is_newest: for ``last_value``: whether the newest message of the topic is in this stream.
    """
    if cursor is not None:
        begin = cursor + 1
    elif returns:
        begin = 1
    elif start is Start.EARLIEST:
        begin = mark.first
    elif start is Start.TIME:
        begin = at_time
    elif start is Start.LAST_VALUE and is_newest and mark.first <= mark.last:
        begin = mark.last
    else:
        begin = mark.last + 1
    return Place(mark.stream, mark.first, mark.last, begin)
