"""A reader's side: in order, without a hole, without a repeat, whatever the network does.

Theory of operation. For each stream the reader holds the sequence that it expects next. A live frame that
begins there is handed over. One that begins later shows a hole: it is put aside, and the store is asked for
what is missing. A watermark ("this stream reaches to n") shows a hole at the end, where no later frame would.

One request per stream is under way at a time, answered with at most as many frames as there is room for
(credits). While it is, live frames are put aside; there may be few of these, since everything that is thrown
away is still in the store. When an answer brings the stream to where the frames put aside begin, they are
handed over and the stream is live again: a reader that cannot keep up reads from the store at its own pace, and
nobody waits for it.

What the store no longer has is not asked for again: the reader says which messages have :class:`Expired`, for the
ledger, and goes on behind them.

A reader begins with *joining*: the store tells how far each stream reaches, at a moment when live frames already
flow. Until then live frames are put aside. A stream that the answer does not mention has begun later, with 1.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mycelium.core.delivery.frames import Frame, StreamKey, Watermark

DEFAULT_ASIDE = 64
"""Frames put aside per stream. Chosen by us: what arrives while one request is answered, at a few µs a frame."""

DEFAULT_CREDITS = 256
"""Frames in one answer at most."""


class Start(enum.StrEnum):
    """Where a reader begins that has no cursor."""

    NEW = "new"
    """With what is published from now on."""
    EARLIEST = "earliest"
    """With the oldest message that the store keeps."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand over the messages of ``frame``, but for the first ``skip``, which were handed over before."""

    frame: Frame
    skip: int


@dataclass(frozen=True, slots=True)
class Request:
    """Ask the store for frames of a stream.

    Args:
        stream: which.
        sequence: the first message wanted.
        credits: how many frames may come.
    """

    stream: StreamKey
    sequence: int
    credits: int


@dataclass(frozen=True, slots=True)
class Expired:
    """Messages ``first`` to ``last`` of a stream are no longer kept by the store."""

    stream: StreamKey
    first: int
    last: int


Action = Deliver | Request | Expired


class _Stream:
    __slots__ = ("aside", "asked", "expected", "reaches")

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.reaches = expected - 1
        """The last sequence that is known to exist."""
        self.asked = False
        self.aside: deque[Frame] = deque()


class ReaderState:
    """All streams of one reader.

    Args:
        start: where to begin with streams that the cursor does not have.
        cursor: the last sequence handled of each stream, for a durable reader that has been here before.
            What it does not mention has begun since, with 1; ``start`` plays no role then.
        max_aside: frames put aside per stream.
        max_credits: frames in one answer.
    """

    def __init__(
        self,
        start: Start = Start.NEW,
        cursor: Mapping[StreamKey, int] | None = None,
        *,
        max_aside: int = DEFAULT_ASIDE,
        max_credits: int = DEFAULT_CREDITS,
    ) -> None:
        self._start = start
        self._cursor = None if cursor is None else dict(cursor)
        self._max_aside = max_aside
        self._max_credits = max_credits
        self._streams: dict[StreamKey, _Stream] = {}
        self._before_join: dict[StreamKey, _Stream] = {}
        self.joined: bool = False

    def join(self, marks: Iterable[Watermark]) -> list[Action]:
        """The store says how far each stream reaches. Once; a repeated answer is a watermark like any other."""
        if self.joined:
            return self.watermarks(marks)
        self.joined = True
        actions: list[Action] = []
        for mark in marks:
            actions += self._join_stream(mark)
        for key, early in self._before_join.items():
            stream = self._streams.get(key) or self._open(key, 1)
            for frame in early.aside:
                actions += self._take(stream, frame)
            # Frames that were thrown away for want of room were later than those put aside.
            stream.reaches = max(stream.reaches, early.reaches)
            actions += self._ask(key, stream)
        self._before_join.clear()
        return actions

    def _join_stream(self, mark: Watermark) -> list[Action]:
        key = mark.stream
        if self._cursor is not None:
            stream = self._open(key, self._cursor.get(key, 0) + 1)
        elif self._start is Start.EARLIEST:
            stream = self._open(key, mark.first)
        else:
            stream = self._open(key, mark.last + 1)
        return self._reach(key, stream, mark)

    def _open(self, key: StreamKey, expected: int) -> _Stream:
        stream = self._streams[key] = _Stream(expected)
        return stream

    def live(self, frame: Frame) -> list[Action]:
        """A frame has come by itself."""
        if not self.joined:
            early = self._before_join.get(frame.stream)
            if early is None:
                early = self._before_join[frame.stream] = _Stream(0)
            early.reaches = max(early.reaches, frame.last)
            if len(early.aside) < self._max_aside:
                early.aside.append(frame)
            return []
        stream = self._streams.get(frame.stream) or self._open(frame.stream, 1)
        return self._take(stream, frame)

    def _take(self, stream: _Stream, frame: Frame) -> list[Action]:
        stream.reaches = max(stream.reaches, frame.last)
        if frame.last < stream.expected:
            return []
        if frame.sequence <= stream.expected:
            return [*self._hand_over(stream, frame), *self._aside_again(frame.stream, stream)]
        if len(stream.aside) < self._max_aside:
            stream.aside.append(frame)
        return self._ask(frame.stream, stream)

    def _hand_over(self, stream: _Stream, frame: Frame) -> list[Action]:
        skip = stream.expected - frame.sequence
        stream.expected = frame.last + 1
        return [Deliver(frame, skip)]

    def _aside_again(self, key: StreamKey, stream: _Stream) -> list[Action]:
        """Hand over what was put aside and fits now, then ask for what is still missing."""
        actions: list[Action] = []
        waiting = sorted(stream.aside, key=lambda frame: frame.sequence)
        stream.aside.clear()
        for frame in waiting:
            if frame.last < stream.expected:
                continue
            if frame.sequence <= stream.expected:
                actions += self._hand_over(stream, frame)
            else:
                stream.aside.append(frame)
        return actions + self._ask(key, stream)

    def _ask(self, key: StreamKey, stream: _Stream) -> list[Action]:
        if stream.asked or stream.reaches < stream.expected:
            return []
        stream.asked = True
        return [Request(key, stream.expected, self._max_credits)]

    def answer(self, key: StreamKey, sequence: int, frames: Iterable[Frame], mark: Watermark) -> list[Action]:
        """The store's answer to a request.

        Args:
            key: the stream that was asked for.
            sequence: the first message that was wanted; an answer to a former request is taken all the same.
            frames: what the store has from there, at most the credits.
            mark: how far the stream reaches.
        """
        del sequence  # repeats are told by their frames
        stream = self._streams.get(key)
        if stream is None:
            return []
        stream.asked = False
        actions = self._skip_expired(key, stream, mark)
        for frame in frames:
            if frame.sequence <= stream.expected <= frame.last:
                actions += self._hand_over(stream, frame)
        stream.reaches = max(stream.reaches, mark.last)
        if not actions:
            # The store does not have yet what was seen of the stream: it has crashed, and its publisher will send
            # it again. Asking at once would only be answered the same; :meth:`ask_again` does it in time.
            return []
        return actions + self._aside_again(key, stream)

    def _skip_expired(self, key: StreamKey, stream: _Stream, mark: Watermark) -> list[Action]:
        gone = min(mark.first, mark.last + 1)
        if gone <= stream.expected:
            return []
        expired = Expired(key, stream.expected, gone - 1)
        stream.expected = gone
        return [expired]

    def watermarks(self, marks: Iterable[Watermark]) -> list[Action]:
        """The store says how far streams reach: what shows a hole at the end. Before joining it means nothing."""
        if not self.joined:
            return []
        actions: list[Action] = []
        for mark in marks:
            stream = self._streams.get(mark.stream) or self._open(mark.stream, 1)
            actions += self._reach(mark.stream, stream, mark)
        return actions

    def _reach(self, key: StreamKey, stream: _Stream, mark: Watermark) -> list[Action]:
        stream.reaches = max(stream.reaches, mark.last)
        return self._ask(key, stream)

    def ask_again(self) -> list[Action]:
        """Repeat the requests under way: no answer has come for long, or the connection is a new one."""
        actions: list[Action] = []
        for key, stream in self._streams.items():
            stream.asked = False
            actions += self._ask(key, stream)
        return actions

    def expected(self, key: StreamKey) -> int:
        """The sequence of the next message to hand over; 0 for a stream that is not known."""
        stream = self._streams.get(key)
        return stream.expected if stream is not None else 0

    @property
    def put_aside(self) -> int:
        """Frames put aside now. Bounded per stream."""
        return sum(len(s.aside) for s in (*self._streams.values(), *self._before_join.values()))
