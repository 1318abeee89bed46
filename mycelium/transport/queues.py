"""The bounded queue in front of every reader, one class per way of overflowing.

All run in one event loop and never await while they change: a put is a few lines of plain code. A
publisher that must wait leaves its item with the queue, which takes it when there is room, first come
first served. So nobody can overtake a waiting publisher, and order per stream holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence

from mycelium.core.errors import QueueFullError
from mycelium.core.ledger import Cause
from mycelium.core.policy import QueuePolicy
from mycelium.transport.streams import Item, Route, Waiting

DEFAULT_CAPACITY = 1024
"""Messages. Chosen by us: a few milliseconds of work for a fast handler, a few MB of market events at most."""


class BoundedQueue:
    """Policy ``block``: when full, the publisher waits. Base of the others.

    Args:
        name: the subscription's name, for ledger and errors.
        capacity: messages, at least 1.
    """

    __slots__ = ("_closed", "_ended", "_failure", "_getter", "_waiting", "capacity", "in_hand", "items", "name")
    policy = QueuePolicy.BLOCK

    def __init__(self, name: str, capacity: int) -> None:
        self.name: str = name
        self.capacity: int = capacity
        self.items: deque[Item] = deque()
        self.in_hand: Sequence[Item] = ()
        """What the reader has taken last. It is done with these when it comes for more."""
        self._waiting: deque[Waiting] = deque()
        self._getter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._closed = False

    def put(self, item: Item) -> bool:
        """Take the item, or say with False that it must be :meth:`offered <offer>`."""
        # Whoever waits has been let in as soon as there was room: while one waits, the queue is full.
        if len(self.items) >= self.capacity or self._closed:
            return self._overflow(item)
        self.items.append(item)
        if self._getter is not None:
            self._wake()
        return True

    def _overflow(self, item: Item) -> bool:
        """The queue is full or closed. True when the item has been dealt with."""
        if self._closed:
            item.route.dropped.add(Cause.CLOSED)
            return True
        return self._overflow_open(item)

    def _overflow_open(self, item: Item) -> bool:
        """The policy: what a full queue does with one item more."""
        del item
        return False

    def would_wait(self) -> bool:
        """Whether a put would have to wait now."""
        return self.policy is QueuePolicy.BLOCK and not self._closed and len(self.items) >= self.capacity

    def offer(self, item: Item) -> Waiting | None:
        """Take the item, or let it wait for room, behind all that waited before."""
        if self.put(item):
            return None
        waiting = Waiting(item, self._withdraw)
        self._waiting.append(waiting)
        return waiting

    def _withdraw(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        waiting.message.route.dropped.add(Cause.CANCELLED)

    def take_out(self, routes: Container[Route]) -> list[Item]:
        """Take out what waits of some routes, in the queue or for room in it. The reader does not get it."""
        taken = [item for item in self.items if item.route in routes]
        self.items = deque(item for item in self.items if item.route not in routes)
        for waiting in [waiting for waiting in self._waiting if waiting.message.route in routes]:
            self._waiting.remove(waiting)
            taken.append(waiting.message)
            waiting.admitted()
        self._admit()
        return taken

    def take(self) -> Item:
        """The oldest item. Only when there is one."""
        item = self.items.popleft()
        self.in_hand = (item,)
        if self._waiting:
            self._admit()
        return item

    def take_all(self, limit: int) -> list[Item]:
        """Up to ``limit`` items, oldest first."""
        items = self.items
        if len(items) <= limit:
            taken = list(items)
            items.clear()
        else:
            taken = [items.popleft() for _ in range(limit)]
        self.keep_in_hand(taken)
        if self._waiting:
            self._admit()
        return taken

    def keep_in_hand(self, taken: Sequence[Item]) -> None:
        """The reader has these now."""
        self.in_hand = taken

    def _admit(self) -> None:
        """Let waiting publishers' items in while there is room."""
        while self._waiting and len(self.items) < self.capacity:
            waiting = self._waiting.popleft()
            self.items.append(waiting.message)
            waiting.admitted()

    async def wait_items(self) -> bool:
        """Wait until there is an item; False when there will be none any more.

        Raises:
            QueueFullError: policy ``error``, at the place where messages are missing.
            PathError: the reader may not go on, see :meth:`fail`.
        """
        while not self.items:
            self.in_hand = ()
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return False
            if self._getter is not None:
                raise RuntimeError(f"subscription {self.name} is already being read by another task")
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        return True

    def _wake(self) -> None:
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    def end(self) -> None:
        """Nothing new will come. The reader ends when it has read what is here."""
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The reader may not go on: what is queued is dropped, counted, and it meets ``error``."""
        self._failure = error
        self.close()
        self.discard()

    def close(self) -> None:
        """Take nothing more: what comes now, and publishers that wait, are counted as dropped."""
        self._ended = self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.message.route.dropped.add(Cause.CLOSED)
            waiting.admitted()
        self._wake()

    def unfinished(self) -> Iterator[Item]:
        """What the reader is not done with: what it has in hand, what is queued, what waits for room. In this order."""
        yield from self.in_hand
        yield from self._all_items()
        yield from (waiting.message for waiting in self._waiting)

    def discard(self) -> None:
        """Drop what is still queued, counted."""
        for item in self.take_all(len(self.items)):
            item.route.dropped.add(Cause.CLOSED)
        self.in_hand = ()

    def __len__(self) -> int:
        return len(self.items)

    def queued_by_route(self) -> Counter[Route]:
        """How many items of each route wait here, in the queue or for room in it."""
        return Counter(item.route for item in (*self._all_items(), *(waiting.message for waiting in self._waiting)))

    def _all_items(self) -> Iterator[Item]:
        return iter(self.items)


class DropOldestQueue(BoundedQueue):
    """Policy ``drop_oldest``: the oldest queued message makes room."""

    __slots__ = ()
    policy = QueuePolicy.DROP_OLDEST

    def _overflow_open(self, item: Item) -> bool:
        oldest = self.items.popleft()
        oldest.route.dropped.add(Cause.QUEUE + self.policy)
        self.items.append(item)
        return True


class DropNewestQueue(BoundedQueue):
    """Policy ``drop_newest``: the arriving message is dropped."""

    __slots__ = ()
    policy = QueuePolicy.DROP_NEWEST

    def _overflow_open(self, item: Item) -> bool:
        item.route.dropped.add(Cause.QUEUE + self.policy)
        return True


class ErrorQueue(BoundedQueue):
    """Policy ``error``: from the first overflow on messages are dropped, until the reader has met the error.

    So the reader gets everything before the hole, then the error at the hole, then what comes after it.
    """

    __slots__ = ("_missing",)
    policy = QueuePolicy.ERROR

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(name, capacity)
        self._missing = 0

    def put(self, item: Item) -> bool:
        """Take the item, or drop it and remember that the reader must be told."""
        if self._missing and not self._closed:
            return self._overflow_open(item)
        return super().put(item)

    def _overflow_open(self, item: Item) -> bool:
        self._missing += 1
        item.route.dropped.add(Cause.QUEUE + self.policy)
        return True

    async def wait_items(self) -> bool:
        """See :meth:`BoundedQueue.wait_items`."""
        if not self.items and self._missing:
            missing, self._missing = self._missing, 0
            raise QueueFullError(self.name, self.capacity, missing)
        return await super().wait_items()


class LatestQueue(BoundedQueue):
    """Policy ``latest``: one message per topic, the newest, at the place of the one it replaced.

    Its memory is bounded by the number of topics that match; ``capacity`` plays no role.
    """

    __slots__ = ("_newest",)
    policy = QueuePolicy.LATEST

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(name, capacity)
        # The deque holds one token per topic, this the item that the token stands for.
        self._newest: dict[str, Item] = {}

    def put(self, item: Item) -> bool:
        """Take the item in the place of the queued one of its topic, which is counted as dropped."""
        if self._closed:
            return self._overflow(item)
        topic = item.route.stream.id.topic
        replaced = self._newest.get(topic)
        self._newest[topic] = item
        if replaced is not None:
            replaced.route.dropped.add(Cause.QUEUE + self.policy)
            return True
        self.items.append(item)
        self._wake()
        return True

    def take(self) -> Item:
        """The newest item of the topic that has waited longest."""
        item = self._newest.pop(self.items.popleft().route.stream.id.topic)
        self.keep_in_hand((item,))
        return item

    def take_all(self, limit: int) -> list[Item]:
        """Up to ``limit`` items, one per topic."""
        taken = [self.take() for _ in range(min(limit, len(self.items)))]
        self.keep_in_hand(taken)
        return taken

    def _all_items(self) -> Iterator[Item]:
        return iter(self._newest.values())


_QUEUES: dict[QueuePolicy, type[BoundedQueue]] = {
    queue.policy: queue for queue in (BoundedQueue, DropOldestQueue, DropNewestQueue, ErrorQueue, LatestQueue)
}


def make_queue(policy: QueuePolicy, name: str, capacity: int) -> BoundedQueue:
    """The queue for a policy."""
    return _QUEUES[policy](name, capacity)
