"""A stream that comes from a store, as one subscription sees it."""

from __future__ import annotations

from collections import Counter, deque

from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.ledger import RouteEntry
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.streams import Route, Run, Stream


class StoredRoute(Route):
    """A stream that comes from a store, as one subscription sees it."""

    __slots__ = ("account", "given", "key", "losses", "reaches")

    def __init__(self, key: StreamKey, stream: Stream, queue: BoundedQueue, account: Account, name: str) -> None:
        super().__init__(stream, queue, account.joined, name)
        self.key: StreamKey = key
        self.left: int | None = None
        self.delivered: int = account.delivered
        for cause, number in account.dropped.items():
            self.dropped.add(cause, number)
        self.given: int = account.cursor
        """The last message that was put into the queue, or dropped before it."""
        self.reaches: int = account.cursor
        """The last message that is known to exist."""
        self.account: Account = account
        """As it was reported last."""
        # Messages dropped before the queue, the last of them and how many, until the reader has come past them.
        self.losses: deque[tuple[int, str, int]] = deque()

    def lose(self, cause: str, first: int, last: int) -> None:
        """Messages will not come."""
        self.dropped.add(cause, last - first + 1)
        self.losses.append((last, cause, last - first + 1))
        self.given = last

    def done_with(self, oldest: Run | None, in_hand: int) -> Account:
        """How far the reader is.

        Args:
            oldest: the route's oldest messages in queue and hand.
            in_hand: how many count as delivered and are not finished.
        """
        cursor = self.given if oldest is None else oldest.next - 1
        if cursor == self.account.cursor and self.delivered - in_hand == self.account.delivered:
            return self.account  # nothing has moved; there may be thousands of streams
        while self.losses and self.losses[0][0] <= cursor:
            self.losses.popleft()
        dropped = Counter(self.dropped.counts)
        for _, cause, number in self.losses:
            dropped[cause] -= number
        return Account(self.joined, cursor, self.delivered - in_hand, {c: n for c, n in dropped.items() if n})

    def entry(self, queued: int) -> RouteEntry:
        """See :class:`Route`. What has not been fetched yet waits in the store."""
        until = self.given if self.left is not None else max(self.reaches, self.given)
        return RouteEntry(
            topic=self.stream.id.topic,
            source=self.stream.id.source_name,
            epoch=self.stream.id.epoch,
            subscription=self.name,
            published=until - self.joined,
            delivered=self.delivered,
            dropped=self.dropped.frozen(),
            queued=queued + until - self.given,
        )

    def stop(self, given: int) -> None:
        """Nothing beyond ``given`` is for this reader any more."""
        self.left = self.given = given
        while self.losses and self.losses[-1][0] > given:
            _, cause, number = self.losses.pop()
            self.dropped.add(cause, -number)

    def add(self, later: StoredRoute) -> None:
        """Add the books of another time with the same stream."""
        self.left = self.given = self.given + later.given - later.joined
        self.delivered += later.delivered
        for cause, number in later.dropped.counts.items():
            self.dropped.add(cause, number)
