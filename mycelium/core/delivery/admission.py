"""The door of the store: each frame of a stream once, in order, without a hole.

=====================  ==================================  =====================  ==========================
stream                 frame                               verdict                what the store does
=====================  ==================================  =====================  ==========================
known                  follows the last one                ``ACCEPT``             keep, forward, confirm
known                  ends at or before the last one      ``DUPLICATE``          confirm again
known                  begins beyond the next one          :class:`Missing`       ask to go back
known                  begins at its base, beyond          ``ACCEPT``             keep, forward, confirm
known                  holds old and new messages          ``OVERLAP``            refuse, count
not known              begins with 1, or at its base       ``ACCEPT``             keep, forward, confirm
not known              otherwise                           ``UNKNOWN``            ask for the base
older than its source  any                                 ``STALE``              refuse, count
=====================  ==================================  =====================  ==========================

A base beyond the next one says that the publisher cannot go back so far: what was confirmed is gone with the disk
that held it. The stream goes on with a hole, which its readers are told of.

"Older than its source" is a frame of a former incarnation on a topic on which a newer one has begun. A publisher
with an outbox sends what its former incarnation left before it begins anew, so this does not happen to it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from mycelium.core.delivery.frames import Frame, StreamKey, Watermark

MAX_BASES = 50_000
"""Bases that are remembered until a message of their stream has come. Beyond it all are forgotten: their publishers are
asked for them again. As many as a journal remembers streams."""


class Entrance(enum.Enum):
    """The verdicts that carry nothing but themselves."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    OVERLAP = "overlap"
    UNKNOWN = "unknown stream"
    STALE = "stale epoch"


@dataclass(frozen=True, slots=True)
class Missing:
    """The stream continues with ``expected``; the frame that came begins later."""

    expected: int


Judgement = Entrance | Missing


class Admission:
    """What the store knows of the streams it keeps.

    Args:
        known: the streams in the journal, read at start.
    """

    def __init__(self, known: Iterable[Watermark] = ()) -> None:
        self._last: dict[StreamKey, int] = {}
        self._newest: dict[tuple[int, str], int] = {}
        self._bases: dict[StreamKey, int] = {}
        for mark in known:
            self._begin(mark.stream, mark.last)

    def _begin(self, stream: StreamKey, last: int) -> None:
        self._last[stream] = last
        place = (stream.source, stream.topic)
        self._newest[place] = max(stream.epoch, self._newest.get(place, -1))

    def announce(self, stream: StreamKey, wanted: int, base: int) -> None:
        """A publisher says where a stream goes on for it.

        What it says may be late, and about a store that is no more; so it counts only as an answer to what this store
        wants next. A base never goes back: what a publisher has let go of, it does not get again.

        Args:
            stream: which.
            wanted: the message that the store wants next, as the publisher was told; 1 if it knows nothing.
            base: the first one from there on that the publisher can send.
        """
        last = self._last.get(stream)
        if last is not None:
            if wanted == last + 1 < base:
                self._bases[stream] = base
        elif wanted in (1, self._bases.get(stream)):
            if len(self._bases) >= MAX_BASES and stream not in self._bases:
                self._bases.clear()
            self._bases[stream] = max(base, self._bases.get(stream, 1))

    def judge(self, frame: Frame) -> Judgement:
        """What to do with a frame. Changes nothing; see the table at the top of this file."""
        stream = frame.stream
        last = self._last.get(stream)
        if last is not None:
            if frame.sequence == last + 1:
                return Entrance.STALE if self._is_stale(stream) else Entrance.ACCEPT
            if frame.last <= last:
                return Entrance.DUPLICATE
            if frame.sequence <= last:
                return Entrance.OVERLAP
            return Entrance.ACCEPT if frame.sequence == self._bases.get(stream) else Missing(last + 1)
        if self._is_stale(stream):
            return Entrance.STALE
        base = self._bases.get(stream)
        if frame.sequence == (base or 1):
            return Entrance.ACCEPT
        return Entrance.UNKNOWN if base is None else Missing(base)

    def _is_stale(self, stream: StreamKey) -> bool:
        return stream.epoch < self._newest.get((stream.source, stream.topic), -1)

    def accepted(self, frame: Frame) -> None:
        """The journal has the frame."""
        self._begin(frame.stream, frame.last)
        self._bases.pop(frame.stream, None)

    def last(self, stream: StreamKey) -> int:
        """The last sequence that is kept of a stream: what to confirm. 0 for a stream that is not known."""
        return self._last.get(stream, 0)

    def forget(self, streams: Iterable[StreamKey]) -> None:
        """Retention has removed the last frames of these streams, and their publishers are gone."""
        for stream in streams:
            self._last.pop(stream, None)
