"""A publisher's unconfirmed frames: kept until the store has them, sent again when it may not.

Theory of operation. The store confirms cumulatively per stream: "I have everything up to n". A frame stays in
the window until then. The store takes the frames of a stream only in order, so what it misses is answered by
going back: everything of that stream from the missing sequence on is sent again. Repeats are harmless, the
store refuses them by sequence.

A store that does not know a stream (its disk is new, or retention has removed the stream) cannot know whether
a frame with sequence 7 is the beginning. It asks, and the publisher answers with its *base*: the oldest
sequence that it can still send. What was confirmed before that is history that this store never had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mycelium.core.delivery.frames import Frame, StreamKey

DEFAULT_WINDOW_MESSAGES = 65_536
DEFAULT_WINDOW_BYTES = 16 << 20
"""Chosen by us: a tenth of a second at full speed, and what a process can lose without an outbox."""


class PublisherWindow:
    """The unconfirmed frames of one publisher towards one store.

    Args:
        max_messages: above this there is no room. One frame more is always let in, whatever its size.
        max_bytes: the same for bytes.
    """

    def __init__(self, max_messages: int = DEFAULT_WINDOW_MESSAGES, max_bytes: int = DEFAULT_WINDOW_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._frames: dict[StreamKey, deque[Frame]] = {}
        self.messages: int = 0
        self.bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether a frame may be added; if not, the publisher waits."""
        return self.messages < self._max_messages and self.bytes < self._max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether everything is confirmed."""
        return not self._frames

    def add(self, frame: Frame) -> None:
        """Keep a frame that is being sent. It comes after the last one of its stream, mostly at once: a publish that
        was cancelled leaves a hole."""
        waiting = self._frames.get(frame.stream)
        if waiting is None:
            waiting = self._frames[frame.stream] = deque()
        assert not waiting or frame.sequence > waiting[-1].last, "a stream goes on at its publisher"
        waiting.append(frame)
        self.messages += frame.count
        self.bytes += len(frame.data)

    def confirm(self, stream: StreamKey, last: int) -> int:
        """The store has everything of a stream up to ``last``. How many messages that releases.

        A confirm that is late, repeated, or about a stream that is not ours releases nothing.
        """
        waiting = self._frames.get(stream)
        released = 0
        while waiting and waiting[0].last <= last:
            frame = waiting.popleft()
            released += frame.count
            self.bytes -= len(frame.data)
        if waiting is not None and not waiting:
            del self._frames[stream]
        self.messages -= released
        return released

    def base(self, stream: StreamKey, sequence: int = 0) -> int | None:
        """The oldest sequence from ``sequence`` on that can still be sent; None if there is none."""
        for frame in self._frames.get(stream, ()):
            if frame.last >= sequence:
                return max(frame.sequence, sequence)
        return None

    def bases(self) -> dict[StreamKey, int]:
        """The base of every stream that has unconfirmed frames: what is told to a store after (re)connecting."""
        return {stream: waiting[0].sequence for stream, waiting in self._frames.items()}

    def again(self, stream: StreamKey, sequence: int = 0) -> Iterator[Frame]:
        """The frames of a stream that hold ``sequence`` or later messages, oldest first."""
        return (frame for frame in tuple(self._frames.get(stream, ())) if frame.last >= sequence)

    def all_again(self) -> Iterator[Frame]:
        """Every unconfirmed frame, each stream in order: after a reconnection, or when no confirm has come for long."""
        for stream in tuple(self._frames):
            yield from self.again(stream)
