"""Beyond the own event loop: messages of a stream leave in frames and come out as items again.

Coalescing is adaptive. A message published while nothing is under way leaves at once, alone. What is
published later in the same turn of the event loop, or while the socket is full, is gathered and leaves
together at the end of the turn or as soon as there is room. Nothing waits for a timer.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, build_frame, decode_frame, encode_frame, source_id
from mycelium.core.errors import ContractError, WireError
from mycelium.core.ledger import Cause, Tally
from mycelium.core.message import Message, PayloadCodec
from mycelium.core.sequence import Gap, Overlap, Verdict
from mycelium.core.trace import Mark, Marks, is_marked, marks_of, with_marks
from mycelium.transport.sockets import FrameSender
from mycelium.transport.streams import Route, Run, Stream, Waiting

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

MAX_COALESCED = 1024
"""Messages of one frame. Measured, see ADR 0015: what a frame costs in three processes, some 100 µs each, is shared by
as many messages as there are; beyond a thousand nothing is left of it."""

FRAME_BYTES = 64 << 10
"""What a frame of many is to have at most. Chosen by us: larger ones would hold up others for longer than they save."""

MAX_GATHERED = 2 * MAX_COALESCED
"""Messages of one stream that wait for a full socket before its publisher has to wait."""

MAX_LOAD = 16 * MAX_COALESCED
"""Messages of all streams that are gathered for one place. A publisher that never waits ends no turn: with thousands of
topics it would gather millions. Chosen by us: a quarter of a window, and three messages a frame with 5,000 topics."""


class Link(ABC):
    """What one event loop sends to another place, with one :class:`LinkSink` per stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gathering: dict[LinkSink, None] = {}  # a set that keeps its order
        self._turn_is_open = False
        self._full = False
        self._idle: list[asyncio.Future[None]] = []
        self.load: int = 0
        """Messages that are gathered."""

    @property
    def is_free(self) -> bool:
        """Whether a message may leave at once: nothing of this turn is under way and the socket has room."""
        return not self._turn_is_open and not self._full

    @property
    def is_full(self) -> bool:
        """Whether nothing can leave now."""
        return self._full

    @abstractmethod
    def hand_over(self, frame: Frame, type_id: int) -> bool:
        """Hand a frame to whoever carries it; False if there is no room for it now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what carries the frames."""

    def send(self, frame: Frame, type_id: int) -> bool:
        """Hand a frame over; False if there is no room, and :meth:`room` will be called."""
        if self._full or not self.hand_over(frame, type_id):
            self._full = True
            return False
        if not self._turn_is_open:
            self._turn_is_open = True
            self._loop.call_soon(self._end_turn)
        return True

    def gather(self, sink: LinkSink) -> None:
        """``sink`` has messages that must leave at the end of the turn."""
        self._gathering[sink] = None
        if not self._turn_is_open:
            self._turn_is_open = True
            self._loop.call_soon(self._end_turn)

    def relieve(self) -> None:
        """Much is gathered: let it leave before the turn ends."""
        if not self.is_full:
            self._flush()

    def _end_turn(self) -> None:
        self._turn_is_open = False
        self._flush()

    def room(self) -> None:
        """There may be room again."""
        self._full = False
        self._flush()

    def _flush(self) -> None:
        while self._gathering and not self._full:
            sink = next(iter(self._gathering))
            if sink.flush():
                self._gathering.pop(sink, None)
        self.settle()

    @property
    def gathered(self) -> int:
        """Messages that have not left."""
        return sum(sink.gathered for sink in self._gathering)

    @property
    def is_idle(self) -> bool:
        """Whether everything has left."""
        return not self._gathering

    def settle(self) -> None:
        """Let those go on who wait until everything has left, if it has."""
        if self._idle and self.is_idle:
            idle, self._idle = self._idle, []
            for waiter in idle:
                if not waiter.done():
                    waiter.set_result(None)

    async def flushed(self) -> None:
        """Return when everything has left."""
        if not self.is_idle:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(waiter)
            await waiter


class ThreadLink(Link):
    """What one event loop sends to another one in the same process.

    Args:
        sender: makes the socket, given what to call when there is room again.
    """

    def __init__(self, sender: Callable[[Callable[[], None]], FrameSender]) -> None:
        super().__init__()
        self._sender = sender(self.room)

    def hand_over(self, frame: Frame, type_id: int) -> bool:  # noqa: ARG002 - the frame says it, too
        """See :class:`Link`."""
        return self._sender.send(frame.data)

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()


class LinkSink:
    """The sink of one stream towards one other place.

    Args:
        link: what carries its frames.
        stream: whose messages.
        codec: of its contract.
        coalesce: whether messages may share a frame. Off for measurements only.
    """

    __slots__ = (
        "_codec", "_first", "_holes", "_key", "_link", "_marks", "_messages", "_most", "_most_ever", "_published",
        "_stream", "_waiting",
    )  # fmt: skip

    def __init__(self, link: Link, stream: Stream, codec: PayloadCodec[Any], *, coalesce: bool = True) -> None:
        self._link = link
        self._stream = stream
        self._codec = codec
        self._key = StreamKey(source_id(stream.id.source_name), stream.id.epoch, stream.id.topic)
        self._messages: list[Message] = []
        self._first = 0
        self._published = 0
        self._waiting: deque[Waiting] = deque()
        self._most_ever = MAX_COALESCED if coalesce else 1
        # Messages in the next frame at most: as many as FRAME_BYTES hold, going by the last frame.
        self._most = min(256, self._most_ever)
        # Sequences that will never leave, at the end of what was sent. A reader learns of a hole from the
        # next frame; until there is one, the ledger asks here.
        self._holes: dict[int, str] = {}
        self._marks: Marks | None = None

    def mark(self, marks: Iterable[Mark]) -> None:
        """See :class:`~mycelium.transport.streams.Sink`. They leave with their messages."""
        if self._marks is None:
            self._marks = Marks()
        self._marks.add(marks)

    def holes_from(self, sequence: int) -> Mapping[str, int]:
        """Messages from ``sequence`` on that will never leave and that no frame has revealed, by cause."""
        return Counter(cause for hole, cause in list(self._holes.items()) if hole >= sequence)

    def put(self, messages: list[Message], first: int, published: int) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        gathered, link = self._messages, self._link
        size, count = len(gathered), len(messages)
        if self._waiting or size >= MAX_GATHERED or link.load >= MAX_LOAD:
            return False
        if not size:
            self._first, self._published = first, published
            gathered += messages
            link.load += count
            if link.is_free:
                self.flush()
            if gathered:
                link.gather(self)
        elif first != self._first + size:
            return False  # a hole: what is gathered must leave before it, in a frame of its own
        else:
            gathered += messages
            link.load += count
        if size + count >= self._most and not link.is_full:
            self._send_whole()
        if link.load >= MAX_LOAD:
            link.relieve()
        return True

    def put_one(self, message: Message, sequence: int, published: int) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        gathered, link = self._messages, self._link
        size = len(gathered)
        # What most messages meet that are published one by one: others are gathered, and it follows on them.
        if 0 < size < self._most - 1 and sequence == self._first + size and link.load < MAX_LOAD - 1:
            gathered.append(message)
            link.load += 1
            return True
        return self.put([message], sequence, published)

    @property
    def gathered(self) -> int:
        """Messages that have not left, those that wait for room among them."""
        return len(self._messages) + sum(len(waiting.messages[0]) for waiting in self._waiting)

    def would_wait(self) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        gathered = len(self._messages)
        return (
            bool(self._waiting)
            or gathered >= MAX_GATHERED
            or self._link.load >= MAX_LOAD
            or (gathered > 0 and self._first + gathered in self._holes)
        )

    def offer(self, messages: list[Message], first: int, published: int) -> Waiting | None:
        """See :class:`~mycelium.transport.streams.Sink`. What is withdrawn leaves a hole that the reader counts."""
        if self.put(messages, first, published):
            return None
        waiting = self._wait(messages, first, published)
        self._link.gather(self)  # what is gathered for others may be all that it waits for
        return waiting

    def _wait(self, messages: list[Message], first: int, published: int) -> Waiting:
        waiting = Waiting((messages, first, published), self._withdraw)
        self._waiting.append(waiting)
        return waiting

    def _withdraw(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        messages, first, _ = waiting.messages
        self._holes.update(dict.fromkeys(range(first, first + len(messages)), Cause.CANCELLED))

    def flush(self) -> bool:
        """Send what is gathered in frames; False if the socket has no room for all of it."""
        self._admit()
        while self._messages:
            if not self._send_some():
                return False
            self._admit()
        return True

    def _send_whole(self) -> None:
        """Send the frames that are as large as frames become: nothing is won by waiting for more."""
        while len(self._messages) >= self._most and self._send_some():
            pass

    def _send_some(self) -> bool:
        """Send a frame of what is gathered; False if there is no room for it."""
        frame, count = self._frame(self._messages[: self._most], self._first, self._published)
        if frame is not None and not self._leave(frame):
            return False
        del self._messages[:count]
        self._link.load -= count
        self._first += count
        return True

    def _leave(self, frame: Frame) -> bool:
        if not self._link.send(frame, self._stream.contract.type_id):
            return False
        if self._holes:  # the frame's own sequence reveals those before it
            self._holes = {hole: why for hole, why in self._holes.items() if hole > frame.sequence}
        if self._marks:
            self._marks.drop(frame.last)
        return True

    def _admit(self) -> None:
        """Let waiting publishers' messages in. A hole left by a cancelled one ends the run before it."""
        while self._waiting and len(self._messages) < MAX_GATHERED:
            messages, first, published = self._waiting[0].messages
            if not self._messages:
                self._first, self._published = first, published
            elif first != self._first + len(self._messages):
                return
            self._messages += messages
            self._link.load += len(messages)
            self._waiting.popleft().admitted()

    def _frame(self, messages: list[Message], first: int, published: int) -> tuple[Frame | None, int]:
        """A frame, and how many of the messages are dealt with by it.

        It holds fewer where all would be too large, and is None for one message that cannot travel.
        """
        stream = self._stream
        count = len(messages)
        marks: Sequence[Mark] = self._marks.within(first, count) if self._marks else ()
        try:
            payload = self._codec.encode(messages)
            said = (
                stream.id.topic,
                stream.contract.type_id,
                count,
                self._key.source,
                stream.id.epoch,
                first,
                published,
                payload,
            )
            data = encode_frame(with_marks(Envelope(*said), marks)) if marks else build_frame(*said)
        except ContractError as error:
            if count > 1:
                return self._frame(messages[: count // 2], first, published)
            if marks and self._marks:
                self._marks.drop(first)  # it may travel without its trace
                return self._frame(messages, first, published)
            self._holes[first] = "cannot travel"
            log.error("message cannot travel", topic=stream.id.topic, sequence=first, error=str(error))
            return None, 1
        self._most = max(1, min(self._most_ever, FRAME_BYTES * count // len(payload)))
        return Frame(self._key, first, count, data), count


class StrictSink(LinkSink):
    """A sink that takes messages only when the link has them: for publishers with an outbox.

    What is gathered is in memory only, and would go with the process.
    """

    __slots__ = ()

    def put(self, messages: list[Message], first: int, published: int) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`. Of several messages some may find room: they are offered."""
        if self._waiting or len(messages) > 1:
            return False
        return not self._send(messages, first, published)

    def would_wait(self) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        return bool(self._waiting) or self._link.is_full

    def offer(self, messages: list[Message], first: int, published: int) -> Waiting | None:
        """See :class:`~mycelium.transport.streams.Sink`."""
        rest = messages if self._waiting else self._send(messages, first, published)
        if not rest:
            return None
        waiting = self._wait(rest, first + len(messages) - len(rest), published)
        self._link.gather(self)
        return waiting

    def flush(self) -> bool:
        """Send what waits; False if the link has no room for all of it."""
        while self._waiting:
            waiting = self._waiting[0]
            messages, first, published = waiting.messages
            rest = self._send(messages, first, published)
            if rest:
                waiting.messages = (rest, first + len(messages) - len(rest), published)
                return False
            self._waiting.popleft()
            waiting.admitted()
        return True

    def _send(self, messages: list[Message], first: int, published: int) -> list[Message]:
        """Send messages; what is left of them when there is no room."""
        while messages:
            frame, count = self._frame(messages[: self._most], first, published)
            if frame is not None and not self._leave(frame):
                break
            messages, first = messages[count:], first + count
        return messages


class Inbound:
    """Turns frames from other event loops into items in the queues of this one's subscriptions.

    Args:
        routes: the routes of (source, epoch, topic, type id) in this event loop; asked once per frame.
        codec: the codec for a contract's class.
        on_handled: called after each frame that was handled whole.
    """

    def __init__(
        self,
        routes: Callable[[int, int, str, int], tuple[Route, ...]],
        codec: Callable[[type[Message]], PayloadCodec[Any]],
        on_handled: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._codec = codec
        self._on_handled = on_handled
        self.is_busy: bool = False
        """Whether a frame is half handled, waiting for room in a queue."""
        self.refused: Tally = Tally()
        """Frames that could not be read, by cause."""

    def on_frame(self, frame: bytes) -> Awaitable[None] | None:
        """Deal with one frame. What comes back must be awaited before the next one."""
        waiting = self._dispatch(frame)
        if waiting is None:
            self._on_handled()
        return waiting

    def _dispatch(self, frame: bytes) -> Awaitable[None] | None:
        try:
            envelope = decode_frame(frame)
        except WireError as error:
            self.refused.add("frame refused")
            log.warning("frame refused", error=str(error), bytes=len(frame))
            return None
        routes = self._routes(envelope.source, envelope.epoch, envelope.topic, envelope.type_id)
        if not routes:
            return None
        try:
            codec = self._codec(routes[0].stream.contract.message_type)
            messages = codec.decode(envelope.payload, envelope.count)
        except WireError as error:
            self.refused.add(Cause.DECODE)
            log.warning("payload refused", topic=envelope.topic, sequence=envelope.sequence, error=str(error))
            for route in routes:
                lost = envelope.count - _new_from(route, envelope)
                if lost:
                    route.dropped.add(Cause.DECODE, lost)
            return None
        waiting: list[Waiting] = []
        marks = marks_of(envelope) if is_marked(envelope) else ()
        for route in routes:
            if marks:
                route.mark(marks)
            run = Run(messages, route, envelope.sequence, envelope.published, _new_from(route, envelope))
            if run.left:
                place = route.queue.offer(run)
                if place is not None:
                    waiting.append(place)
        if not waiting:
            return None
        self.is_busy = True
        return self._rest(waiting)

    async def _rest(self, waiting: list[Waiting]) -> None:
        """Finish a frame that met a full queue: wait for room there."""
        for place in waiting:
            await place.room
        self.is_busy = False
        self._on_handled()


def _new_from(route: Route, envelope: Envelope) -> int:
    """How many messages at the frame's start are not for this route (again). Counts holes as lost."""
    verdict = route.tracker.observe(envelope.epoch, envelope.sequence, envelope.count)
    if verdict is Verdict.IN_ORDER:
        return 0
    match verdict:
        case Gap(missing=missing):
            route.dropped.add(Cause.LOST, missing)
            return 0
        case Overlap(skip=skip):
            return skip
        case _:
            return envelope.count
