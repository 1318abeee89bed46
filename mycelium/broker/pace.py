"""How fast a service may publish. What is above that is confirmed later, so that its publishers wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.delivery.window import DEFAULT_WINDOW_MESSAGES

BURST_SECONDS = 1.0
"""How much of its time a service may save up."""

PATIENCE = 4
"""A publisher has at most a window of messages under way. Who has sent so many windows without a confirm keeps to
nothing, and is not listened to until it is done."""


class Pace:
    """The pace of one service: its kept frames wait here for their confirm.

    A token bucket: tokens come at the given rate, and each message that is confirmed takes one.

    Args:
        rate: messages per second.
        window: messages that a publisher may have under way.
        now: seconds, of a clock that only goes on.
    """

    def __init__(self, rate: int, window: int, now: float) -> None:
        self._rate = rate
        self._most = max(rate * BURST_SECONDS, 1.0)
        self._tokens = self._most
        self._now = now
        self._bound = PATIENCE * window
        self._waiting: deque[tuple[StreamKey, int, int]] = deque()
        self.messages: int = 0
        """That wait for their confirm."""

    @property
    def is_over(self) -> bool:
        """Whether the service does not keep to its window: nothing more of it is taken."""
        return self.messages > self._bound

    def add(self, stream: StreamKey, last: int, count: int) -> None:
        """Messages have been kept: ``count`` of them, up to ``last``."""
        self._waiting.append((stream, last, count))
        self.messages += count

    def take(self, count: int, now: float) -> bool:
        """Whether messages that are not kept may pass now. Nobody waits for a confirm of theirs."""
        self._refill(now)
        if self._tokens <= 0:
            return False
        self._tokens -= count
        return True

    def due(self, now: float) -> Iterator[tuple[StreamKey, int]]:
        """What may be confirmed by now: streams, and their last message."""
        self._refill(now)
        # A frame may take more than there is, once: else one that is larger than the bucket would wait for ever.
        while self._waiting and self._tokens > 0:
            stream, last, count = self._waiting.popleft()
            self._tokens -= count
            self.messages -= count
            yield stream, last

    def _refill(self, now: float) -> None:
        self._tokens = min(self._most, self._tokens + (now - self._now) * self._rate)
        self._now = now


class Paces:
    """The paces of all services of a broker.

    Args:
        rate: messages a second that each may publish; None for no limit.
        time: seconds, of a clock that only goes on.
    """

    def __init__(self, rate: int | None, time: Callable[[], float]) -> None:
        self._rate = rate
        self._time = time
        self._by_source: dict[int, Pace] = {}
        self._waiting: set[int] = set()

    @property
    def are_waiting(self) -> bool:
        """Whether confirms wait for their time."""
        return bool(self._waiting)

    def refuses(self, source: int, count: int, *, is_kept: bool) -> bool:
        """Whether messages come too fast to be taken at all.

        Args:
            source: who publishes.
            count: how many messages.
            is_kept: whether their publisher waits for a confirm; if so, that is what slows it down.
        """
        if self._rate is None:
            return False
        pace = self._by_source.get(source)
        if pace is None:
            pace = self._by_source[source] = Pace(self._rate, DEFAULT_WINDOW_MESSAGES, self._time())
        return pace.is_over if is_kept else not pace.take(count, self._time())

    def hold(self, stream: StreamKey, last: int, count: int) -> bool:
        """Whether the confirm of kept messages has to wait: :meth:`due` gives it then.

        Args:
            stream: whose.
            last: of the messages.
            count: how many; 0 for a repeat, whose first confirm may be waiting.
        """
        pace = self._by_source.get(stream.source)
        if pace is None:
            return False
        if count:
            pace.add(stream, last, count)
            self._waiting.add(stream.source)
        return pace.messages > 0

    def due(self) -> Iterator[tuple[StreamKey, int]]:
        """What may be confirmed by now."""
        for source in tuple(self._waiting):
            pace = self._by_source[source]
            yield from pace.due(self._time())
            if not pace.messages:
                self._waiting.discard(source)
