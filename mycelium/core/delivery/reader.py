"""A reader's side: in order, without a hole, without a repeat, whatever the network does.

Theory of operation. For each stream the reader holds the sequence that it expects next. A live frame that
begins there is handed over. One that begins later shows a hole: it is put aside, and the store is asked for
what is missing. A watermark ("this stream reaches to n") shows a hole at the end, where no later frame would.

One request per stream is under way at a time, answered with at most as many frames as there is room for
(credits). While it is, live frames are put aside; there may be few of these, since everything that is thrown
away is still in the store. When an answer brings the stream to where the frames put aside begin, they are
handed over and the stream is live again.

A reader whose queue is full is *paused*: it goes on putting live frames aside while there is room for them, and
notes how far the streams reach. When it goes on, it reads from the store what it threw away. So a reader that
cannot keep up reads at its own pace, and nobody waits for it.

What the store no longer has is not asked for again: the reader says which messages have :class:`Expired`, for the
ledger, and goes on behind them.

A reader begins with *joining*: the store tells where it begins with each stream
(:mod:`mycelium.core.delivery.joining`), at a moment when live frames already flow. Until then live frames are put
aside. A stream that the answer does not mention has begun later, with 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from mycelium.core.delivery.frames import Frame, StreamKey, Watermark
from mycelium.core.delivery.joining import Place

DEFAULT_ASIDE = 256
"""Frames that a reader puts aside. Chosen by us: what arrives while some requests are answered, at a few µs a frame."""

DEFAULT_CREDITS = 64
"""Frames in one answer at most. Chosen by us: some 16,000 messages, and half a millisecond of the store's time."""


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

    def __init__(self, expected: int, reaches: int) -> None:
        self.expected = expected
        self.reaches = reaches
        """The last sequence that is known to exist."""
        self.asked = False
        self.aside: deque[Frame] = deque()


class ReaderState:
    """All streams of one reader.

    Args:
        max_aside: frames put aside, over all streams.
        max_credits: frames in one answer.
    """

    def __init__(self, *, max_aside: int = DEFAULT_ASIDE, max_credits: int = DEFAULT_CREDITS) -> None:
        self._max_aside = max_aside
        self._max_credits = max_credits
        self._streams: dict[StreamKey, _Stream] = {}
        self._before_join: dict[StreamKey, _Stream] = {}
        # Streams that may have something to hand over or to ask for once the reader goes on.
        self._behind: dict[StreamKey, None] = {}
        self.joined: bool = False
        self.paused: bool = False
        self.put_aside: int = 0
        """Frames put aside now."""

    def join(self, places: Iterable[Place]) -> list[Action]:
        """The store says where to begin with each stream. A repeated answer is taken for watermarks."""
        actions: list[Action] = []
        if self.joined:
            for place in places:
                actions += self._watermark(place.stream, place.last)
            return actions
        self.joined = True
        for place in places:
            stream = self._streams[place.stream] = _Stream(place.begin, place.last)
            if place.stream not in self._before_join:
                actions += self._ask(place.stream, stream)
        early, self._before_join = self._before_join, {}
        for key, before in early.items():
            stream = self._streams.get(key) or self._open(key)
            stream.reaches = max(stream.reaches, before.reaches)
            stream.aside = before.aside
            actions += self._aside_again(key, stream)
        return actions

    def begin(self, place: Place) -> list[Action]:
        """A stream is for this reader from now on."""
        stream = self._streams[place.stream] = _Stream(place.begin, place.last)
        return self._ask(place.stream, stream)

    def stop(self, key: StreamKey) -> None:
        """A stream is not for this reader any more."""
        stream = self._streams.pop(key, None)
        if stream is not None:
            self.put_aside -= len(stream.aside)
            self._behind.pop(key, None)

    def _open(self, key: StreamKey) -> _Stream:
        stream = self._streams[key] = _Stream(1, 0)
        return stream

    def follows(self, key: StreamKey, sequence: int, count: int) -> bool:
        """Whether a live frame is to be handed over at once, whole, and nothing else is to be done; then it is taken.

        What holds of nearly every frame, without what :meth:`live` makes for the others.
        """
        stream = self._streams.get(key)
        if stream is None or stream.expected != sequence or stream.reaches >= sequence or stream.aside or self.paused:
            return False
        stream.reaches = last = sequence + count - 1
        stream.expected = last + 1
        return True

    def live(self, frame: Frame) -> list[Action]:
        """A frame has come by itself."""
        if not self.joined:
            early = self._before_join.get(frame.stream)
            if early is None:
                early = self._before_join[frame.stream] = _Stream(0, 0)
            early.reaches = max(early.reaches, frame.last)
            self._put_aside(early, frame)
            return []
        stream = self._streams.get(frame.stream) or self._open(frame.stream)
        stream.reaches = max(stream.reaches, frame.last)
        if frame.last < stream.expected:
            return []
        if self.paused or frame.sequence > stream.expected:
            self._put_aside(stream, frame)
            return self._ask(frame.stream, stream)
        actions: list[Action] = [_hand_over(stream, frame)]
        if stream.aside or stream.reaches >= stream.expected:
            actions += self._aside_again(frame.stream, stream)
        return actions

    def _put_aside(self, stream: _Stream, frame: Frame) -> None:
        if self.put_aside < self._max_aside:
            stream.aside.append(frame)
            self.put_aside += 1

    def _aside_again(self, key: StreamKey, stream: _Stream) -> list[Action]:
        """Hand over what was put aside and fits now, then ask for what is still missing."""
        actions: list[Action] = []
        waiting = sorted(stream.aside, key=lambda frame: frame.sequence)
        self.put_aside -= len(waiting)
        stream.aside.clear()
        for frame in waiting:
            if frame.last < stream.expected:
                continue
            if frame.sequence <= stream.expected and not self.paused:
                actions.append(_hand_over(stream, frame))
            else:
                stream.aside.append(frame)
        self.put_aside += len(stream.aside)
        return actions + self._ask(key, stream)

    def _ask(self, key: StreamKey, stream: _Stream) -> list[Action]:
        if stream.reaches < stream.expected:
            self._behind.pop(key, None)
            return []
        self._behind[key] = None
        if stream.asked or self.paused:
            return []
        stream.asked = True
        return [Request(key, stream.expected, self._max_credits)]

    def pause(self) -> None:
        """There is no room for what would be handed over."""
        self.paused = True

    def go_on(self) -> list[Action]:
        """There is room again. The reader may have to be paused again before all that comes back is dealt with."""
        self.paused = False
        actions: list[Action] = []
        for key in tuple(self._behind):
            actions += self._aside_again(key, self._streams[key])
        return actions

    def answer(self, key: StreamKey, sequence: int, frames: Iterable[Frame], mark: Watermark) -> list[Action]:
        """The store's answer to a request.

        Args:
            key: the stream that was asked for.
            sequence: the first message that was wanted.
            frames: what the store has from the wanted message on, at most the credits.
            mark: how far the stream reaches.
        """
        stream = self._streams.get(key)
        if stream is None or sequence > stream.expected:
            return []
        stream.asked = False
        stream.reaches = max(stream.reaches, mark.last)
        if self.paused:
            # There is no room, and all of it is still in the store.
            self._behind[key] = None
            return []
        actions: list[Action] = []
        gone = min(mark.first, mark.last + 1)
        if gone > stream.expected:
            actions.append(_pass_over(key, stream, gone))
        for frame in frames:
            if frame.last < stream.expected:
                continue
            if frame.sequence > stream.expected:
                # The store has the stream only from here on: what lies before was lost with its disk.
                actions.append(_pass_over(key, stream, frame.sequence))
            actions.append(_hand_over(stream, frame))
        if not actions:
            # The store does not have yet what was seen of the stream: it has crashed, and its publisher will send
            # it again. Asking at once would only be answered the same; :meth:`ask_again` does it in time.
            return []
        return actions + self._aside_again(key, stream)

    def watermarks(self, marks: Iterable[Watermark]) -> list[Action]:
        """The store says how far streams reach: what shows a hole at the end. Before joining it means nothing."""
        actions: list[Action] = []
        for mark in marks:
            actions += self._watermark(mark.stream, mark.last)
        return actions

    def _watermark(self, key: StreamKey, last: int) -> list[Action]:
        if not self.joined:
            return []
        stream = self._streams.get(key) or self._open(key)
        stream.reaches = max(stream.reaches, last)
        return self._ask(key, stream)

    def abandon(self, key: StreamKey) -> list[Action]:
        """The store that kept a stream is gone for good: what is missing of it will not come any more."""
        stream = self._streams.get(key)
        if stream is None or stream.reaches < stream.expected:
            return []
        actions: list[Action] = []
        for frame in sorted(stream.aside, key=lambda frame: frame.sequence):
            if frame.sequence > stream.expected:
                actions.append(_pass_over(key, stream, frame.sequence))
            if frame.last >= stream.expected:
                actions.append(_hand_over(stream, frame))
        if stream.reaches >= stream.expected:
            actions.append(_pass_over(key, stream, stream.reaches + 1))
        self.put_aside -= len(stream.aside)
        stream.aside.clear()
        self._behind.pop(key, None)
        return actions

    def ask_again(self) -> list[Action]:
        """Repeat the requests under way: no answer has come for long, or the connection is a new one."""
        actions: list[Action] = []
        for key in tuple(self._behind):
            stream = self._streams[key]
            stream.asked = False
            actions += self._ask(key, stream)
        return actions

    def expected(self, key: StreamKey) -> int:
        """The sequence of the next message to hand over; 0 for a stream that is not known."""
        stream = self._streams.get(key)
        return stream.expected if stream is not None else 0

    def reaches(self, key: StreamKey) -> int:
        """The last message of a stream that is known to exist; 0 for a stream that is not known."""
        stream = self._streams.get(key)
        return stream.reaches if stream is not None else 0

    @property
    def behind(self) -> tuple[StreamKey, ...]:
        """The streams of which something is missing, or waits."""
        return tuple(self._behind)

    @property
    def streams(self) -> tuple[StreamKey, ...]:
        """All streams that are known."""
        return tuple(self._streams)


def _hand_over(stream: _Stream, frame: Frame) -> Deliver:
    skip = stream.expected - frame.sequence
    stream.expected = frame.last + 1
    return Deliver(frame, skip)


def _pass_over(key: StreamKey, stream: _Stream, to: int) -> Expired:
    expired = Expired(key, stream.expected, to - 1)
    stream.expected = to
    return expired
