"""The reading end of the typed API."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mycelium.core.errors import ClosedError, WouldBlock
from mycelium.core.message import Message
from mycelium.core.policy import QueuePolicy
from mycelium.core.trace import MessageId, TraceContext
from mycelium.transport.exchange import Exchange
from mycelium.transport.queues import BoundedQueue, make_queue
from mycelium.transport.remote import Reading
from mycelium.transport.streams import Item, Route, Run
from mycelium.transport.subscriptions import Interest, Subscription

M = TypeVar("M", bound=Message)

MAX_BATCH = 1024
"""Messages in one batch, unless told otherwise: as many as the default queue holds."""


@dataclass(frozen=True, slots=True)
class Delivery(Generic[M]):
    """A message with what identifies it. (source, epoch, topic, sequence) is its id.

    Args:
        message: the message.
        source: the publishing service instance.
        epoch: the publisher's incarnation, ns since the Unix epoch at its start.
        topic: where it was published.
        sequence: its number in the stream, from 1.
        published: when, ns since the Unix epoch.
        trace: the span that published it, if it is traced.
        cause: the message whose handling published it, if it is traced and there was one.
    """

    message: M
    source: str
    epoch: int
    topic: str
    sequence: int
    published: int
    trace: TraceContext | None = None
    cause: MessageId | None = None


@dataclass(frozen=True, slots=True)
class SubscriberStatistics:
    """What a subscription has done.

    Args:
        streams: streams it has been attached to.
        delivered: messages handed over.
        dropped: messages dropped, over all causes.
        queued: messages waiting.
        capacity: messages the queue holds.
    """

    streams: int
    delivered: int
    dropped: int
    queued: int
    capacity: int


class Subscriber(Generic[M]):
    """Reads messages of one class from the topics of one pattern. Get one from :meth:`mycelium.Bus.subscriber`.

    One from :meth:`mycelium.Bus.mailbox` reads several classes, in the order in which they were published.

    Iterate over it with ``async for``, message by message, or over :meth:`batches`. One task reads it.
    A message counts as delivered when it is handed over.
    """

    def __init__(
        self,
        interests: Sequence[Interest],
        exchange: Exchange,
        name: str,
        policy: QueuePolicy,
        capacity: int,
        reading: Reading,
        source_name: str,
    ) -> None:
        self._reading = reading
        self._source_name = source_name
        self._interests = tuple(interests)
        self._exchange = exchange
        self._queue: BoundedQueue = make_queue(policy, name, capacity)
        self._subscription: Subscription | None = None
        self._detached = False
        self._closed = False

    @property
    def name(self) -> str:
        """What ledger and errors call it."""
        return self._queue.name

    @property
    def interests(self) -> tuple[Interest, ...]:
        """What it reads."""
        return self._interests

    async def attach(self) -> None:
        """Wire it. ``async with`` does it. From its return on, nothing that is published is missed.

        Raises:
            ClosedError: it was closed.
            PathError: another thread's event loop does not answer.
        """
        if self._closed:
            raise ClosedError(f"subscription {self.name}")
        if self._subscription is None:
            self._subscription = await self._exchange.attach(
                self._source_name, self._interests, self._queue, self._reading
            )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        queue = self._queue
        if not queue.size and not await queue.wait_items():
            raise StopAsyncIteration
        run = queue.take()
        run.route.delivered += 1
        return run.messages[run.at - 1]  # type: ignore[no-any-return]

    async def batches(self, limit: int = MAX_BATCH) -> AsyncIterator[list[M]]:
        """All that is queued, at least one message and at most ``limit``, again and again.

        Args:
            limit: messages in one batch.
        """
        while await self._queue.wait_items():
            batch: list[M] = []
            for run in self._queue.take_all(limit):
                run.route.delivered += run.left
                batch += run.messages[run.at :]
            yield batch

    async def deliveries(self) -> AsyncIterator[Delivery[M]]:
        """Message by message, with what identifies each."""
        while (item := await self.take()) is not None:
            yield _delivery(item)

    async def delivery_batches(self, limit: int = MAX_BATCH) -> AsyncIterator[list[Delivery[M]]]:
        """All that is queued, as :meth:`batches`, with what identifies each message.

        For readers that store what they did together with the ids of the messages, and then ask for more.

        Args:
            limit: messages in one batch.
        """
        while await self._queue.wait_items():
            batch: list[Delivery[M]] = []
            for run in self._queue.take_all(limit):
                run.route.delivered += run.left
                batch += _deliveries(run)
            yield batch

    async def take(self) -> Item | None:
        """The next message with its route, counted as delivered; None when there will be none any more."""
        if not self._queue.size and not await self._queue.wait_items():
            return None
        run = self._queue.take()
        run.route.delivered += 1
        at = run.at - 1
        return Item(run.messages[at], run.route, run.first + at, run.published_at(at))

    def receive_nowait(self) -> M:
        """The next message, without waiting.

        Raises:
            WouldBlock: there is none.
        """
        if not self._queue.size:
            self._queue.keep_in_hand(())
            raise WouldBlock(f"no message waits in subscription {self.name}")
        run = self._queue.take()
        run.route.delivered += 1
        return run.messages[run.at - 1]  # type: ignore[no-any-return]

    def statistics(self) -> SubscriberStatistics:
        """What it did so far."""
        routes = self._subscription.all_routes if self._subscription is not None else []
        return SubscriberStatistics(
            streams=len(routes),
            delivered=sum(route.delivered for route in routes),
            dropped=sum(sum(route.dropped.counts.values()) for route in routes),
            queued=len(self._queue),
            capacity=self._queue.capacity,
        )

    async def detach(self) -> None:
        """Take nothing that is published from now on; iteration ends after all that was published before."""
        if self._subscription is not None and not self._detached:
            self._detached = True
            await self._exchange.detach(self._subscription)

    async def aclose(self) -> None:
        """Stop at once. What is still queued is dropped, counted. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        if self._subscription is not None:
            if not self._detached:
                self._detached = True
                await self._exchange.detach(self._subscription, at_once=True)
            await self._exchange.settle(self._subscription)

    async def __aenter__(self) -> Self:
        await self.attach()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._queue.keep_in_hand(())
        await self.aclose()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._subscription is not None:
            warnings.warn(f"subscription {self.name} was not closed", ResourceWarning, stacklevel=1)


def _delivery(item: Item) -> Delivery[Any]:
    return _delivered(item.message, item.route, item.sequence, item.published)


def _deliveries(run: Run) -> list[Delivery[Any]]:
    return [
        _delivered(message, run.route, run.first + at, run.published_at(at))
        for at, message in enumerate(run.messages[run.at :], run.at)
    ]


def _delivered(message: Any, route: Route, sequence: int, published: int) -> Delivery[Any]:
    stream = route.stream.id
    mark = route.take_mark(sequence) if sequence >= route.next_mark else None
    if mark is None:
        return Delivery(message, stream.source_name, stream.epoch, stream.topic, sequence, published)
    return Delivery(
        message, stream.source_name, stream.epoch, stream.topic, sequence, published, mark.context, mark.cause
    )
