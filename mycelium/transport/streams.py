"""The two ends of every delivery: a stream at its publisher and a route at its reader.

Theory of operation. A publisher opens one :class:`Stream` per topic and numbers its messages. A
stream holds its *sinks*: what each message is put into. A sink is the queue of a subscription in the
same event loop (the message goes by reference) or a :class:`~mycelium.transport.links.LinkSink`
that carries it in frames to another thread. Publishing is then the same few lines whatever the path:
number, stamp, put into every sink. A sink that answers False is full: the messages then wait there, and
their publisher with them, while the other sinks have them already.

At the reader, a :class:`Route` is one stream as one subscription sees it. It counts what was handed
over and what was dropped, for the ledger (:mod:`mycelium.core.ledger`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import source_id
from mycelium.core.ledger import RouteEntry, StreamEntry, Tally
from mycelium.core.message import Contract
from mycelium.core.sequence import SequenceTracker
from mycelium.core.trace import NO_MARK, Mark, Marks, Published, Tracing


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


class Run:
    """Messages of one stream that follow one another, on their way to one reader.

    What a frame brings, or a publisher hands over at once, goes through queues as it is, so that its cost is paid
    once and not for each message. A plain class: its position moves with every message that is taken.

    Args:
        messages: the objects themselves; other readers may hold the same list.
        route: the stream as the receiving subscription sees it.
        first: number of ``messages[0]`` in the stream.
        published: ns since the Unix epoch, of the first one.
        at: how many of them have been taken.
        times: when each was published, where they came one by one. More may be appended to such a run.
    """

    __slots__ = ("at", "first", "messages", "published", "route", "times")

    def __init__(
        self,
        messages: list[Any],
        route: Route,
        first: int,
        published: int,
        at: int = 0,
        times: list[int] | None = None,
    ) -> None:
        self.messages: list[Any] = messages
        self.route: Route = route
        self.first: int = first
        self.published: int = published
        self.at: int = at
        self.times: list[int] | None = times

    @property
    def left(self) -> int:
        """How many have not been taken."""
        return len(self.messages) - self.at

    @property
    def next(self) -> int:
        """Number of the first one that has not been taken."""
        return self.first + self.at

    def split(self, most: int) -> Run:
        """Take up to ``most`` messages, as a run of their own."""
        at, times = self.at, self.times
        part = Run(self.messages[at : at + most], self.route, self.first + at, self.published)
        if times is not None:
            part.times = times[at : at + most]
        self.at = at + len(part.messages)
        return part

    def published_at(self, position: int) -> int:
        """When the message at a position was published, ns since the Unix epoch; within a frame, when its first was."""
        return self.published if self.times is None else self.times[position]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One message as a reader gets it, with what the books need.

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
    """Messages that wait for room. The publisher awaits ``room``, or takes them back.

    Args:
        messages: what waits, as the sink keeps it.
        withdraw: takes them back and counts them as dropped; called once, while they still wait.
    """

    __slots__ = ("_settled", "_withdraw", "messages", "room")

    def __init__(self, messages: Any, withdraw: Callable[[Waiting], None]) -> None:
        self.messages: Any = messages
        self.room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._withdraw = withdraw
        self._settled = False

    def admitted(self) -> None:
        """There was room, or the sink was closed: the publisher may go on."""
        self._settled = True
        if not self.room.done():  # a publisher that is being cancelled has cancelled it
            self.room.set_result(None)

    def withdraw(self) -> None:
        """Take the messages back, unless the sink has them already."""
        if not self._settled:
            self._settled = True
            self._withdraw(self)


class Sink(Protocol):
    """What a stream puts its messages into: runs of one or more, which nobody changes afterwards."""

    def put(self, messages: list[Any], first: int, published: int) -> bool:
        """Take all of the messages or deal with them by policy; False if they must be :meth:`offered <offer>`."""
        ...

    def put_one(self, message: Any, sequence: int, published: int) -> bool:
        """:meth:`put` for one message."""
        ...

    def would_wait(self) -> bool:
        """Whether :meth:`put` would answer False for one message now."""
        ...

    def offer(self, messages: list[Any], first: int, published: int) -> Waiting | None:
        """Take the messages; what there is no room for waits, behind all that waited before."""
        ...

    def mark(self, marks: Iterable[Mark]) -> None:
        """Note the traces of messages that are about to be put."""
        ...


class Stream:
    """A stream at its publisher. Only the event loop that publishes changes it.

    Args:
        id: which stream.
        contract: of its messages.
        tracing: decides which messages are traced; None if none is.
    """

    __slots__ = ("_tracer", "contract", "id", "sequence", "sinks", "unread")

    def __init__(self, id: StreamId, contract: Contract, tracing: Tracing | None = None) -> None:  # noqa: A002 - the stream's own name for it
        self.id: StreamId = id
        self.contract: Contract = contract
        self.sequence: int = 0
        self.unread: int = 0
        # Replaced as a whole, never changed in place: a publisher may stand in the middle of it.
        self.sinks: tuple[Sink, ...] = ()
        self._tracer = TraceSink(self, tracing) if tracing is not None else None

    def add_sink(self, sink: Sink) -> None:
        """Put what is published from now on into this, too."""
        if self._tracer is not None and not self.sinks:
            self.sinks = (self._tracer,)
        self.sinks = (*self.sinks, sink)

    def remove_sink(self, sink: Sink) -> None:
        """Put nothing into this any more."""
        kept = tuple(other for other in self.sinks if other is not sink)
        self.sinks = () if kept == (self._tracer,) else kept

    def entry(self) -> StreamEntry:
        """What the ledger says of this stream."""
        return StreamEntry(
            self.id.topic, self.id.source_name, self.id.epoch, self.contract.name, self.sequence, self.unread
        )


class TraceSink:
    """Looks at what is published and tells the other sinks of the stream which messages are traced.

    A sink itself, the first of its stream: a publisher without tracing has nothing to ask.

    Args:
        stream: whose messages.
        tracing: decides.
    """

    __slots__ = ("_due", "_inside", "_key", "_stream", "_tracing")

    def __init__(self, stream: Stream, tracing: Tracing) -> None:
        self._stream = stream
        self._tracing = tracing
        self._key = StreamKey(source_id(stream.id.source_name), stream.id.epoch, stream.id.topic)
        self._inside = tracing.inside
        self._due = tracing.gap(stream.id.topic)

    def put(self, messages: list[Any], first: int, published: int) -> bool:
        """See :class:`Sink`."""
        if first + len(messages) > self._due or self._inside() is not None:
            self._look(first, len(messages), published)
        return True

    def put_one(self, _message: Any, sequence: int, published: int) -> bool:
        """See :class:`Sink`."""
        if sequence >= self._due or self._inside() is not None:
            self._look(sequence, 1, published)
        return True

    def _look(self, first: int, count: int, time: int) -> None:
        stream, due = self._stream, []
        while self._due < first + count:
            due.append(max(self._due, first))
            self._due = due[-1] + self._tracing.gap(self._key.topic)
        published = Published(self._key, stream.id.source_name, stream.contract.name, first, count, time)
        marks = self._tracing.published(published, due)
        if marks:
            for sink in stream.sinks:
                sink.mark(marks)

    def would_wait(self) -> bool:
        """See :class:`Sink`."""
        return False

    def offer(self, messages: list[Any], first: int, published: int) -> None:
        """See :class:`Sink`."""
        self.put(messages, first, published)

    def mark(self, marks: Iterable[Mark]) -> None:
        """Nothing: it has made them."""


class Route:
    """One stream as one subscription sees it. It is the sink of streams in its own event loop.

    Args:
        stream: what is read. Beyond the own thread only its sequence is looked at, for the ledger.
        queue: where the messages wait for the reader.
        joined: the stream's sequence when the subscription was attached.
        name: what the ledger calls the subscription.
    """

    __slots__ = (
        "_marks", "delivered", "dropped", "holes_from", "joined", "left", "name", "next_mark", "queue", "stream",
        "tracker",
    )  # fmt: skip

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
        self._marks: Marks | None = None
        self.next_mark: int = NO_MARK
        """Before this sequence no message is traced: so that a reader has only to compare."""

    def mark(self, marks: Iterable[Mark]) -> None:
        """See :class:`Sink`."""
        if self._marks is None:
            self._marks = Marks()
        self._marks.add(marks)
        self.next_mark = self._marks.next

    def take_mark(self, sequence: int) -> Mark | None:
        """The trace of a message that is taken, if it has one; for sequences from :attr:`next_mark` on."""
        assert self._marks is not None
        mark = self._marks.take(sequence)
        self.next_mark = self._marks.next
        return mark

    def put(self, messages: list[Any], first: int, published: int) -> bool:
        """See :class:`Sink`."""
        return self.queue.put(Run(messages, self, first, published))

    def put_one(self, message: Any, sequence: int, published: int) -> bool:
        """See :class:`Sink`."""
        return self.queue.put_one(message, self, sequence, published)

    def would_wait(self) -> bool:
        """See :class:`Sink`."""
        return self.queue.would_wait()

    def offer(self, messages: list[Any], first: int, published: int) -> Waiting | None:
        """See :class:`Sink`."""
        return self.queue.offer(Run(messages, self, first, published))

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

    def put(self, run: Run) -> bool:
        """Take all of the run or deal with it by policy; False if the publisher must wait."""
        ...

    def put_one(self, message: Any, route: Route, sequence: int, published: int) -> bool:
        """:meth:`put` for one message."""
        ...

    def would_wait(self) -> bool:
        """Whether :meth:`put` would answer False for one message now."""
        ...

    def offer(self, run: Run) -> Waiting | None:
        """Take the run; what there is no room for waits, behind all that waited before."""
        ...
