"""The bounded queue in front of every reader, one class per way of overflowing.

All run in one event loop and never await while they change: a put is a few lines of plain code. A
publisher that must wait leaves its messages with the queue, which takes them when there is room, first come
first served. So nobody can overtake a waiting publisher, and order per stream holds.

What is queued are runs (:class:`~mycelium.transport.streams.Run`); what is counted, and bounded, are messages.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence
from typing import Any

from mycelium.core.errors import QueueFullError
from mycelium.core.ledger import Cause
from mycelium.core.policy import QueuePolicy
from mycelium.transport.streams import Route, Run, Waiting

MAX_JOINED = 256
"""Messages in a run that came one by one. Chosen by us: what was taken from a run is let go of when all of it was."""

DEFAULT_CAPACITY = 1024
"""Messages. Chosen by us: a few milliseconds of work for a fast handler, a few MB of market events at most."""


class BoundedQueue:
    """Policy ``block``: when full, the publisher waits. Base of the others.

    Args:
        name: the subscription's name, for ledger and errors.
        capacity: messages, at least 1.
    """

    __slots__ = (
        "_closed", "_ended", "_failure", "_getter", "_hand", "_hand_at", "_hand_run", "_low", "_waiting", "capacity",
        "name", "runs", "size",
    )  # fmt: skip
    policy = QueuePolicy.BLOCK

    def __init__(self, name: str, capacity: int) -> None:
        self.name: str = name
        self.capacity: int = capacity
        self.runs: deque[Run] = deque()
        self.size: int = 0
        """Messages that are queued."""
        # What the reader has taken last, and is done with when it comes for more: runs, or one message of a run.
        self._hand: Sequence[Run] = ()
        self._hand_run: Run | None = None
        self._hand_at = 0
        self._waiting: deque[Waiting] = deque()
        # Down to which size messages that wait are not let in: else a reader that takes one at a time would have them
        # cut into runs of one.
        self._low = capacity - max(1, capacity // 2)
        self._getter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._closed = False

    # --- in ----------------------------------------------------------------------------------

    def put(self, run: Run) -> bool:
        """Take all of the run, or say with False that it must be :meth:`offered <offer>`."""
        size = self.size + len(run.messages) - run.at
        if size > self.capacity or self._waiting or self._closed:
            return self._overflow(run)
        self.size = size
        self.runs.append(run)
        if self._getter is not None:
            self._wake()
        return True

    def put_one(self, message: Any, route: Route, sequence: int, published: int) -> bool:
        """:meth:`put` for one message. It joins the run before it, so that nothing is made for it alone."""
        if self.size >= self.capacity or self._waiting or self._closed:
            return self._overflow(Run([message], route, sequence, published))
        if self.runs:
            last = self.runs[-1]
            times, count = last.times, len(last.messages)
            if times is not None and last.route is route and last.first + count == sequence and count < MAX_JOINED:
                last.messages.append(message)
                times.append(published)
                self.size += 1
                return True
        return self.put(Run([message], route, sequence, published, 0, [published]))

    def _overflow(self, run: Run) -> bool:
        """There is no room for all of it, or the queue is closed. True when the run has been dealt with."""
        if self._closed:
            run.route.dropped.add(Cause.CLOSED, run.left)
            return True
        return self._overflow_open(run)

    def _overflow_open(self, run: Run) -> bool:
        """The policy: what a queue does with a run for which it has no room."""
        del run
        return False

    def _put_part(self, run: Run) -> None:
        """Take as much of a run as there is room for."""
        room = self.capacity - self.size
        if room > 0:
            part = run.split(room)
            self.size += len(part.messages)
            self.runs.append(part)
            self._wake()

    def _grow(self, by: int) -> None:
        self.size += by

    def would_wait(self) -> bool:
        """Whether a put of one message would have to wait now."""
        is_full = self.size >= self.capacity or bool(self._waiting)
        return self.policy is QueuePolicy.BLOCK and not self._closed and is_full

    def offer(self, run: Run) -> Waiting | None:
        """Take the run; what there is no room for waits, behind all that waited before."""
        if self.put(run):
            return None
        if not self._waiting:
            self._put_part(run)
        waiting = Waiting(run, self._withdraw)
        self._waiting.append(waiting)
        return waiting

    def _withdraw(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        waiting.messages.route.dropped.add(Cause.CANCELLED, waiting.messages.left)
        self._admit()

    def _admit(self) -> None:
        """Let in what waits, when there is room."""
        while self._waiting:
            run: Run = self._waiting[0].messages
            room = self.capacity - self.size
            if run.left > room:
                self._put_part(run)
                return
            self.runs.append(run)
            self.size += run.left
            self._waiting.popleft().admitted()
            self._wake()

    # --- out ---------------------------------------------------------------------------------

    def take(self) -> Run:
        """Take the oldest message, which is then ``run.messages[run.at - 1]``. Only when there is one."""
        run = self.runs[0]
        at = run.at = run.at + 1
        if at == len(run.messages):
            self.runs.popleft()
        self.size -= 1
        self._hand_run = run
        self._hand_at = at
        if self._waiting and self.size <= self._low:
            self._admit()
        return run

    def take_all(self, limit: int) -> list[Run]:
        """Take up to ``limit`` messages, oldest first."""
        if self.size <= limit:
            taken = list(self.runs)
            self.runs.clear()
            self.size = 0
        else:
            taken = self._take_some(limit)
        self.keep_in_hand(taken)
        if self._waiting:
            self._admit()
        return taken

    def _take_some(self, limit: int) -> list[Run]:
        taken: list[Run] = []
        while limit:
            run = self.runs[0]
            if run.left > limit:
                run = run.split(limit)
            else:
                self.runs.popleft()
            taken.append(run)
            limit -= run.left
            self.size -= run.left
        return taken

    def take_out(self, routes: Container[Route]) -> list[Run]:
        """Take out what waits of some routes, in the queue or for room in it. The reader does not get it."""
        taken = [run for run in self.runs if run.route in routes]
        self.runs = deque(run for run in self.runs if run.route not in routes)
        self.size -= sum(run.left for run in taken)
        for waiting in [waiting for waiting in self._waiting if waiting.messages.route in routes]:
            self._waiting.remove(waiting)
            taken.append(waiting.messages)
            waiting.admitted()
        self._admit()
        return taken

    # --- the reader's hand -------------------------------------------------------------------

    @property
    def in_hand(self) -> Sequence[Run]:
        """What the reader has taken last. It is done with these when it comes for more."""
        run = self._hand_run
        if run is None:
            return self._hand
        at = self._hand_at - 1
        return (Run(run.messages[at : at + 1], run.route, run.first + at, run.published),)

    def keep_in_hand(self, taken: Sequence[Run]) -> None:
        """The reader has these now, and nothing else."""
        self._hand, self._hand_run = taken, None

    def unfinished(self) -> Iterator[Run]:
        """What the reader is not done with: what it has in hand, what is queued, what waits for room. In this order."""
        yield from self.in_hand
        yield from self._all_runs()
        yield from (waiting.messages for waiting in self._waiting)

    # --- waiting and ending ------------------------------------------------------------------

    async def wait_items(self) -> bool:
        """Wait until there is a message; False when there will be none any more.

        Raises:
            QueueFullError: policy ``error``, at the place where messages are missing.
            PathError: the reader may not go on, see :meth:`fail`.
        """
        while not self.size:
            self.keep_in_hand(())
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
        """Take nothing more: what comes now, and what waits for room, is counted as dropped."""
        self._ended = self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.messages.route.dropped.add(Cause.CLOSED, waiting.messages.left)
            waiting.admitted()
        self._wake()

    def discard(self) -> None:
        """Drop what is still queued, counted."""
        for run in self.take_all(self.size):
            run.route.dropped.add(Cause.CLOSED, run.left)
        self.keep_in_hand(())

    def __len__(self) -> int:
        return self.size

    def queued_by_route(self) -> Counter[Route]:
        """How many messages of each route wait here, in the queue or for room in it."""
        queued: Counter[Route] = Counter()
        for run in (*self._all_runs(), *(waiting.messages for waiting in self._waiting)):
            queued[run.route] += run.left
        return queued

    def _all_runs(self) -> Iterator[Run]:
        return iter(self.runs)


class DropOldestQueue(BoundedQueue):
    """Policy ``drop_oldest``: the oldest queued messages make room."""

    __slots__ = ()
    policy = QueuePolicy.DROP_OLDEST

    def _overflow_open(self, run: Run) -> bool:
        excess = self.size + run.left - self.capacity
        self.runs.append(run)
        self._grow(run.left)
        while excess:
            oldest = self.runs[0]
            dropped = min(excess, oldest.left)
            oldest.at += dropped
            oldest.route.dropped.add(Cause.QUEUE + self.policy, dropped)
            self._grow(-dropped)
            excess -= dropped
            if not oldest.left:
                self.runs.popleft()
        self._wake()
        return True


class DropNewestQueue(BoundedQueue):
    """Policy ``drop_newest``: what arrives and finds no room is dropped."""

    __slots__ = ()
    policy = QueuePolicy.DROP_NEWEST

    def _overflow_open(self, run: Run) -> bool:
        self._put_part(run)
        run.route.dropped.add(Cause.QUEUE + self.policy, run.left)
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

    def put(self, run: Run) -> bool:
        """Take the run, or drop it and remember that the reader must be told."""
        if self._missing and not self._closed:
            return self._drop(run)
        return super().put(run)

    def put_one(self, message: Any, route: Route, sequence: int, published: int) -> bool:
        """See :meth:`put`."""
        return self.put(Run([message], route, sequence, published))

    def _overflow_open(self, run: Run) -> bool:
        self._put_part(run)
        return self._drop(run)

    def _drop(self, run: Run) -> bool:
        self._missing += run.left
        run.route.dropped.add(Cause.QUEUE + self.policy, run.left)
        return True

    async def wait_items(self) -> bool:
        """See :meth:`BoundedQueue.wait_items`."""
        if not self.size and self._missing:
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
        # The deque holds one token per topic, this the run of one message that the token stands for.
        self._newest: dict[str, Run] = {}

    def put(self, run: Run) -> bool:
        """Take the last message in the place of the queued one of its topic; the others are counted as dropped."""
        if self._closed:
            return self._overflow(run)
        topic = run.route.stream.id.topic
        older = run.left - 1
        if older:
            run.at += older
            run.route.dropped.add(Cause.QUEUE + self.policy, older)
            run = run.split(1)
        replaced = self._newest.get(topic)
        self._newest[topic] = run
        if replaced is not None:
            replaced.route.dropped.add(Cause.QUEUE + self.policy)
            return True
        self.runs.append(run)
        self._grow(1)
        self._wake()
        return True

    def put_one(self, message: Any, route: Route, sequence: int, published: int) -> bool:
        """See :meth:`put`."""
        return self.put(Run([message], route, sequence, published))

    def take(self) -> Run:
        """The newest message of the topic that has waited longest."""
        run = self._newest.pop(self.runs.popleft().route.stream.id.topic)
        self._grow(-1)
        self.keep_in_hand((Run(run.messages, run.route, run.first, run.published),))
        run.at = 1
        return run

    def take_all(self, limit: int) -> list[Run]:
        """Up to ``limit`` messages, one per topic."""
        taken = [self.take() for _ in range(min(limit, self.size))]
        for run in taken:
            run.at = 0
        self.keep_in_hand(taken)
        return taken

    def _all_runs(self) -> Iterator[Run]:
        return iter(self._newest.values())


_QUEUES: dict[QueuePolicy, type[BoundedQueue]] = {
    queue.policy: queue for queue in (BoundedQueue, DropOldestQueue, DropNewestQueue, ErrorQueue, LatestQueue)
}


def make_queue(policy: QueuePolicy, name: str, capacity: int) -> BoundedQueue:
    """The queue for a policy."""
    return _QUEUES[policy](name, capacity)
