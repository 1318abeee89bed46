"""What is subscribed to at a store, connection by connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mycelium.core.topics import MAX_TOPIC_BYTES
from mycelium.transport.limits import Limits
from mycelium.transport.sockets import Received

MAX_SUBSCRIPTIONS = 500_000
"""Prefixes that are subscribed to, all readers together. Chosen by us: 200 readers with 2,500 each, 50 MB."""


class Audience:
    """Counts subscriptions, so that neither one connection nor all together can fill the store's memory.

    libzmq passes a subscription on as often as it is said, but keeps it once, and says once that it is over. So they
    are counted by connection and prefix. When a connection breaks, libzmq says that they are over without saying
    whose they were; :meth:`left` knows the connection.

    Args:
        limits: how many one connection may have.
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.subscriptions_each
        self._prefixes: dict[int, set[bytes]] = {}
        # Over ipc libzmq does not tell the connections apart.
        self._of_all: Counter[bytes] = Counter()
        self.total: int = 0
        """Subscriptions of all connections."""

    def __contains__(self, prefix: bytes) -> bool:
        return prefix in self._of_all or any(prefix in mine for mine in self._prefixes.values())

    def held(self) -> Iterator[tuple[int, frozenset[bytes]]]:
        """What each connection has subscribed to, by its descriptor."""
        return ((descriptor, frozenset(mine)) for descriptor, mine in tuple(self._prefixes.items()))

    def add(self, received: Received) -> str | None:
        """Take a subscription up; why it cannot be, if it cannot."""
        prefix = received.data[1:]
        if not received.data or received.data[0] > 1 or len(prefix) > MAX_TOPIC_BYTES + 1:
            return f"{len(received.data)} bytes are no subscription"
        if self.total >= MAX_SUBSCRIPTIONS:
            return f"there are {self.total}, and no more are accepted"
        if received.descriptor < 0:
            self._of_all[prefix] += 1
            self.total += 1
            return None
        mine = self._prefixes.setdefault(received.descriptor, set())
        if len(mine) >= self._limit:
            return f"there are {len(mine)} of this connection, and no more are accepted"
        if prefix not in mine:
            mine.add(prefix)
            self.total += 1
        return None

    def remove(self, received: Received) -> bool:
        """A subscription is over; whether it was taken up."""
        prefix = received.data[1:]
        if received.descriptor < 0:
            if not self._of_all[prefix]:
                del self._of_all[prefix]
                return False
            self._of_all[prefix] -= 1
            if not self._of_all[prefix]:
                del self._of_all[prefix]
        else:
            mine = self._prefixes.get(received.descriptor, set())
            if prefix not in mine:
                return False
            mine.remove(prefix)
        self.total -= 1
        return True

    def left(self, descriptor: int) -> None:
        """A connection is over, and all its subscriptions with it."""
        self.total -= len(self._prefixes.pop(descriptor, ()))
