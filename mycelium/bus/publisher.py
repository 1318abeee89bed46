"""The publishing end of the typed API."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mycelium.core.errors import ClosedError, ContractError, TopicError, WouldBlock
from mycelium.core.message import Contract, Message
from mycelium.transport.exchange import Exchange
from mycelium.transport.streams import Sink, Stream, StreamId

M = TypeVar("M", bound=Message)

MAX_RUN = 256
"""Messages that are handed to subscribers at once. Chosen by us: more bring nothing, and a quarter of what the queue of
a reader holds can mostly be taken whole."""


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """What a publisher has done.

    Args:
        streams: topics published on.
        published: messages.
        unread: messages that nobody was subscribed to.
    """

    streams: int
    published: int
    unread: int


class Publisher(Generic[M]):
    """Publishes messages of one class. Get one from :meth:`mycelium.Bus.publisher`."""

    def __init__(
        self,
        contract: Contract,
        exchange: Exchange,
        time_ns: Callable[[], int],
        source_name: str,
        epoch: int,
        streams: dict[Any, Stream],
    ) -> None:
        self._contract = contract
        self._type = contract.message_type
        self._key = contract.routing_key
        self._exchange = exchange
        self._time_ns = time_ns
        self._source_name = source_name
        self._epoch = epoch
        self._streams = streams
        self._closed = False

    async def publish(self, message: M) -> None:
        """Hand a message to all its subscribers.

        Waits only while a subscription with policy ``block``, or the socket to one, is full. When it
        is cancelled there, subscribers not yet served miss the message, counted in the ledger.

        Raises:
            ContractError: the message is of another class, or its fields make no topic.
            ClosedError: the publisher was closed.
        """
        stream = self._streams.get(self._key(message)) if message.__class__ is self._type else None
        if stream is None or self._closed:
            stream = self._open(message)
        stream.sequence = sequence = stream.sequence + 1
        sinks = stream.sinks
        if not sinks:
            stream.unread += 1
            return
        published = self._time_ns()
        for sink in sinks:
            if not sink.put_one(message, sequence, published):
                await _put_rest(sinks[sinks.index(sink) :], [message], sequence, published)
                return

    async def publish_many(self, messages: Iterable[M]) -> None:
        """Publish messages in their order. The same as :meth:`publish` for each, at less cost.

        Those of one topic that follow one another are handed over together, up to :data:`MAX_RUN` at once. When it is
        cancelled while it waits, the messages of such a run that a subscriber has no room for are dropped there,
        counted in the ledger, and the rest is not published.

        Raises:
            ContractError: as :meth:`publish`; the messages before are published.
            ClosedError: the publisher was closed.
        """
        source = iter(messages)
        while True:
            some: list[M] = []
            try:
                some.extend(islice(source, MAX_RUN))
            except BaseException:
                await self._publish_some(some)  # what came before the fault of the caller's iterator
                raise
            if not some:
                return
            await self._publish_some(some)

    async def _publish_some(self, messages: list[M]) -> None:
        if not self._closed and set(map(type, messages)) == {self._type}:
            keys = set(map(self._key, messages))
            if len(keys) == 1:
                await self._publish_run(self._streams.get(keys.pop()) or self._open(messages[0]), messages)
                return
        start = 0
        while start < len(messages):
            stream = self._stream_of(messages[start])
            end = start + 1
            while end < len(messages) and self._is_of(messages[end], stream):
                end += 1
            await self._publish_run(stream, messages[start:end])
            start = end

    def _stream_of(self, message: M) -> Stream:
        stream = self._streams.get(self._key(message)) if message.__class__ is self._type else None
        return self._open(message) if stream is None or self._closed else stream

    def _is_of(self, message: M, stream: Stream) -> bool:
        return message.__class__ is self._type and self._streams.get(self._key(message)) is stream

    async def _publish_run(self, stream: Stream, messages: list[M]) -> None:
        first = stream.sequence + 1
        stream.sequence += len(messages)
        sinks = stream.sinks
        if not sinks:
            stream.unread += len(messages)
            return
        published = self._time_ns()
        for sink in sinks:
            if not sink.put(messages, first, published):
                await _put_rest(sinks[sinks.index(sink) :], messages, first, published)
                return

    def publish_nowait(self, message: M) -> None:
        """Publish without ever waiting.

        Raises:
            WouldBlock: a subscriber is full; nobody has got the message.
            ContractError: as :meth:`publish`.
            ClosedError: the publisher was closed.
        """
        stream = self._stream_of(message)
        if any(sink.would_wait() for sink in stream.sinks):
            raise WouldBlock(f"a subscriber of {stream.id.topic} is full")
        stream.sequence += 1
        if not stream.sinks:
            stream.unread += 1
            return
        published = self._time_ns()
        for sink in stream.sinks:
            # An outbox may turn out to be full only now: the message keeps its place, and waits there.
            sink.offer([message], stream.sequence, published)

    async def flush(self) -> None:
        """Return when everything published so far has left towards its readers."""
        await self._exchange.flushed()

    def _open(self, message: M) -> Stream:
        """The stream of a message that had none yet, or the reason why it cannot be published."""
        if self._closed:
            raise ClosedError(f"publisher of {self._contract.name}")
        if message.__class__ is not self._type:
            raise ContractError(f"this publisher takes {self._contract.name}, got {message!r}")
        try:
            topic = self._contract.topic.topic_of(message)
        except TopicError as error:
            raise ContractError(f"{self._contract.name}: its fields make no topic, {error}") from None
        key = self._key(message)
        stream = self._exchange.open_stream(StreamId(self._source_name, self._epoch, topic), self._contract)
        self._streams[key] = stream
        return stream

    def statistics(self) -> PublisherStatistics:
        """What was published so far."""
        streams = self._streams.values()
        return PublisherStatistics(
            streams=len(streams),
            published=sum(stream.sequence for stream in streams),
            unread=sum(stream.unread for stream in streams),
        )

    async def aclose(self) -> None:
        """Return when everything published has left, and publish no more. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            await self.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.aclose()
        else:
            # A reader that stands still must not keep a cancelled task from ending. What was published
            # leaves all the same, until the bus is closed.
            self._closed = True

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"publisher of {self._contract.name} was not closed", ResourceWarning, stacklevel=1)


async def _put_rest(sinks: tuple[Sink, ...], messages: list[Any], first: int, published: int) -> None:
    """Finish a publish that met a full sink, the first of these.

    The messages take their place everywhere before anything is awaited, so that no later one overtakes them.
    """
    offered = (sink.offer(messages, first, published) for sink in sinks)
    waiting = [place for place in offered if place is not None]
    try:
        for place in waiting:
            await place.room
    except BaseException:
        for place in waiting:
            place.withdraw()
        raise
