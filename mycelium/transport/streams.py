"""The two ends of every delivery: a stream at its publisher and a route at its reader.

Theory of operation. A publisher opens one :class:`Stream` per topic and numbers its messages. A
stream holds its *sinks*: what each message is put into. A sink is the queue of a subscription in the
same event loop (the message goes by reference) or a :class:`~mycelium.transport.links.LinkSink`
that carries it in frames to another thread. Publishing is then the same few lines whatever the path:
number, stamp, put into every sink. A sink that answers False is full: the message then waits there, and
its publisher with it, while the other sinks have it already.

At the reader, a :class:`Route` is one stream as one subscription sees it. It counts what was handed
over and what was dropped, for the ledger (:mod:`mycelium.core.ledger`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from mycelium.core.ledger import RouteEntry, StreamEntry, Tally
from mycelium.core.message import Contract
from mycelium.core.sequence import SequenceTracker


@dataclass(frozen=True, slots=True)
class StreamId:
    """One publisher incarnation on one topic.

    Args:
        source_name: the publishing service instance.
        epoch: its incarnation, ns since the Unix epoch at its start.
        topic: the topic.
    """

    source_name: str
    epoch: int
    topic: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message on its way into a queue. A struct outside the garbage collector's sight: one is made per delivery.

    Args:
        message: the object itself.
        route: the stream as the receiving subscription sees it.
        sequence: its number in the stream.
        published: ns since the Unix epoch.
    """

    message: Any
    route: Route
    sequence: int
    published: int


class Waiting:
    """A message that waits for room. The publisher awaits ``room``, or takes the message back.

    Args:
        message: what waits, as the sink keeps it.
        withdraw: takes it back and counts it as dropped; called once, while it still waits.
    """

    __slots__ = ("_settled", "_withdraw", "message", "room")

    def __init__(self, message: Any, withdraw: Callable[[Waiting], None]) -> None:
        self.message: Any = message
        self.room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._withdraw = withdraw
        self._settled = False

    def admitted(self) -> None:
        """There was room, or the sink was closed: the publisher may go on."""
        self._settled = True
        if not self.room.done():  # a publisher that is being cancelled has cancelled it
            self.room.set_result(None)

    def withdraw(self) -> None:
        """Take the message back, unless the sink has it already."""
        if not self._settled:
            self._settled = True
            self._withdraw(self)


class Sink(Protocol):
    """What a stream puts its messages into."""

    def put(self, message: Any, sequence: int, published: int) -> bool:
        """Take the message or deal with it by policy; False if it must be :meth:`offered <offer>`."""
        ...

    def would_wait(self) -> bool:
        """Whether :meth:`put` would answer False now."""
        ...

    def offer(self, message: Any, sequence: int, published: int) -> Waiting | None:
        """Take the message, or let it wait for room behind all that waited before."""
        ...


class Stream:
    """A stream at its publisher. Only the event loop that publishes changes it.

    Args:
        id: which stream.
        contract: of its messages.
    """

    __slots__ = ("contract", "id", "sequence", "sinks", "unread")

    def __init__(self, id: StreamId, contract: Contract) -> None:  # noqa: A002 - the stream's own name for it
        self.id: StreamId = id
        self.contract: Contract = contract
        self.sequence: int = 0
        self.unread: int = 0
        # Replaced as a whole, never changed in place: a publisher may stand in the middle of it.
        self.sinks: tuple[Sink, ...] = ()

    def entry(self) -> StreamEntry:
        """What the ledger says of this stream."""
        return StreamEntry(
            self.id.topic, self.id.source_name, self.id.epoch, self.contract.name, self.sequence, self.unread
        )


class Route:
    """One stream as one subscription sees it. It is the sink of streams in its own event loop.

    Args:
        stream: what is read. Beyond the own thread only its sequence is looked at, for the ledger.
        queue: where the messages wait for the reader.
        joined: the stream's sequence when the subscription was attached.
        name: what the ledger calls the subscription.
    """

    __slots__ = ("delivered", "dropped", "holes_from", "joined", "left", "name", "queue", "stream", "tracker")

    def __init__(self, stream: Stream, queue: DeliveryQueue, joined: int, name: str) -> None:
        self.stream: Stream = stream
        self.queue: DeliveryQueue = queue
        self.joined: int = joined
        self.name: str = name
        self.left: int | None = None
        self.delivered: int = 0
        self.dropped: Tally = Tally()
        self.tracker: SequenceTracker = SequenceTracker()
        self.tracker.expect(stream.id.epoch, joined + 1)
        # For a stream of another thread: what will never come and no frame has revealed yet, by cause.
        self.holes_from: Callable[[int], Mapping[str, int]] | None = None

    def put(self, message: Any, sequence: int, published: int) -> bool:
        """See :class:`Sink`."""
        return self.queue.put(Item(message, self, sequence, published))

    def would_wait(self) -> bool:
        """See :class:`Sink`."""
        return self.queue.would_wait()

    def offer(self, message: Any, sequence: int, published: int) -> Waiting | None:
        """See :class:`Sink`."""
        return self.queue.offer(Item(message, self, sequence, published))

    def fail(self, cause: str) -> None:
        """Move one message from delivered to dropped: its handler gave up."""
        self.delivered -= 1
        self.dropped.add(cause)

    def leave(self) -> None:
        """The subscription is detached: what is published from now on is not for it."""
        if self.left is None:
            self.left = self.stream.sequence

    @property
    def has_arrived(self) -> bool:
        """Whether all that was published up to :meth:`leave` has come in, or will never come."""
        if self.holes_from is None or self.left is None:
            return True
        expected = self.tracker.expected
        return expected + sum(self.holes_from(expected).values()) > self.left

    def entry(self, queued: int) -> RouteEntry:
        """What the ledger says of this route, with ``queued`` of its messages waiting."""
        until = self.stream.sequence if self.left is None else self.left
        return RouteEntry(
            topic=self.stream.id.topic,
            source=self.stream.id.source_name,
            epoch=self.stream.id.epoch,
            subscription=self.name,
            published=until - self.joined,
            delivered=self.delivered,
            dropped=self._all_dropped(),
            queued=queued,
        )

    def _all_dropped(self) -> Mapping[str, int]:
        if self.holes_from is None:
            return self.dropped.frozen()
        return Counter(self.dropped.counts) + Counter(self.holes_from(self.tracker.expected))


class DeliveryQueue(Protocol):
    """The bounded queue of one subscription, see :mod:`mycelium.transport.queues`."""

    def put(self, item: Item) -> bool:
        """Take the item or deal with it by policy; False if the publisher must wait."""
        ...

    def would_wait(self) -> bool:
        """Whether :meth:`put` would answer False now."""
        ...

    def offer(self, item: Item) -> Waiting | None:
        """Take the item, or let it wait for room behind all that waited before."""
        ...
