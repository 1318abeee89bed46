"""What a replay does: reads a recording in the order in which it was published, and publishes it again at a pace."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from mycelium.bus.bus import Bus
from mycelium.bus.publisher import Publisher
from mycelium.core.clock import Clock
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, decode_frame
from mycelium.core.ledger import Ledger
from mycelium.core.message import Contract, PayloadCodec
from mycelium.core.topics import Pattern
from mycelium.journal import LmdbJournal
from mycelium.transport.addresses import Fabric
from mycelium.transport.exchange import Network

SECOND_NS = 1_000_000_000

READ_AT_ONCE = 4_096
"""Frames of all streams together that are held, about."""
MAX_CREDITS = 64
MAX_READ_BYTES = 1 << 20

YIELD_EVERY = 512
"""Messages after which others get their turn: sockets, signals, the progress."""

FOREVER = 1 << 62


@dataclass(frozen=True)
class Window:
    """What of a recording is published.

    Args:
        pattern: which topics.
        sources: which sources; None for all.
        from_position: first position in the journal.
        to_position: last one.
        from_ns: first time of publishing, ns since the Unix epoch.
        to_ns: the time before which to end.
    """

    pattern: Pattern
    sources: frozenset[int] | None = None
    from_position: int = 0
    to_position: int = FOREVER
    from_ns: int = 0
    to_ns: int = FOREVER

    @property
    def is_whole(self) -> bool:
        """Whether neither position nor time leave anything out."""
        return (self.from_position, self.to_position, self.from_ns, self.to_ns) == (0, FOREVER, 0, FOREVER)

    def streams(self, journal: LmdbJournal) -> list[StreamKey]:
        """The streams that are published."""
        return [
            extent.stream
            for extent in journal.streams(self.pattern)
            if self.sources is None or extent.stream.source in self.sources
        ]

    def has(self, found: Recorded) -> bool:
        """Whether a frame is in it."""
        return (
            self.from_position <= found.position <= self.to_position
            and self.from_ns <= found.envelope.published < self.to_ns
        )


class Recorded(NamedTuple):
    """A frame of a recording."""

    position: int
    envelope: Envelope


def read_in_order(journal: LmdbJournal, window: Window) -> Iterator[Recorded]:
    """The frames of a recording in the order in which they were published; each stream keeps its own order.

    The order of the journal is about the same, but for what the recorder came to a little later.

    Raises:
        JournalDamagedError: a frame is damaged.
        WireError: the same, and the journal has not noticed.
    """
    keys = window.streams(journal)
    amount = max(1, min(MAX_CREDITS, READ_AT_ONCE // max(1, len(keys))))
    streams = [_Stream(journal, key, amount) for key in keys]
    heads = [(stream.time, number) for number, stream in enumerate(streams) if stream.fill()]
    heapq.heapify(heads)
    while heads:
        stream = streams[heads[0][1]]
        found = stream.frames.popleft()
        if window.has(found):
            yield found
        if stream.fill():
            heapq.heapreplace(heads, (stream.time, heads[0][1]))
        else:
            heapq.heappop(heads)


class _Stream:
    def __init__(self, journal: LmdbJournal, key: StreamKey, amount: int) -> None:
        self._journal = journal
        self._key = key
        self._amount = amount
        self._next = 0
        self.frames: deque[Recorded] = deque()

    @property
    def time(self) -> int:
        """When its next frame was published."""
        return self.frames[0].envelope.published

    def fill(self) -> bool:
        """Whether there is a next frame."""
        if not self.frames:
            for record in self._journal.read_stream(
                self._key, self._next, limit=self._amount, max_bytes=MAX_READ_BYTES
            ):
                envelope = decode_frame(record.frame)
                self._next = envelope.sequence + envelope.count
                self.frames.append(Recorded(record.position, envelope))
        return bool(self.frames)


class Pace:
    """Says when it is time for a message.

    Args:
        clock: says the time, and waits.
        speed: how many times as fast as it was recorded; None for as fast as possible.
        stop: ends every waiting.
    """

    def __init__(self, clock: Clock, speed: float | None, stop: asyncio.Event) -> None:
        self._clock = clock
        self._speed = speed
        self._stop = stop
        self._began: tuple[int, int] | None = None

    def begin_anew(self) -> None:
        """The next message is the first one."""
        self._began = None

    async def wait(self, published: int) -> None:
        """Return when it is time for what was published then, ns since the Unix epoch."""
        if self._speed is None:
            return
        now = self._clock.time_ns()
        if self._began is None:
            self._began = now, published
        due = self._began[0] + int((published - self._began[1]) / self._speed)
        if due <= now:
            return
        sleeping = asyncio.ensure_future(self._clock.sleep((due - now) / SECOND_NS))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, stopping):
                task.cancel()
            await asyncio.gather(sleeping, stopping, return_exceptions=True)


@dataclass
class Progress:
    """How far a replay is. Changed while it runs.

    Args:
        published: messages.
        rounds: that were gone through to their end.
        time_ns: of the frame published last, as it was recorded.
    """

    published: int = 0
    rounds: int = 0
    time_ns: int = 0


class _UnconfirmedError(Exception):
    """It was told to end, and a store has not confirmed everything in time."""


class Replay:
    """Publishes a recording.

    Args:
        journal: of the recording.
        window: what of it.
        names: of its sources.
        contracts: by type id.
        fabric: of the process whose place it takes.
        clock: where times come from.
        speed: see :class:`Pace`.
        rounds: how often; None for ever.
        readers: handlers elsewhere to wait for, as the ledger calls them.
        late: is told which of these have not come in time.
    """

    def __init__(
        self,
        journal: LmdbJournal,
        window: Window,
        names: Mapping[int, str],
        contracts: Mapping[int, Contract],
        *,
        fabric: Fabric | None,
        clock: Clock,
        speed: float | None,
        rounds: int | None = 1,
        readers: frozenset[str] = frozenset(),
        late: Callable[[frozenset[str]], None] = lambda _readers: None,
    ) -> None:
        self._journal = journal
        self._window = window
        self._names = names
        self._contracts = contracts
        self._codecs = {one: PayloadCodec(contract.message_type) for one, contract in contracts.items()}
        self._clock = clock
        self._rounds = rounds
        self._readers = readers
        self._late = late
        self._ready_seconds = fabric.ready_seconds if fabric is not None else 0.0
        self._close_seconds = fabric.close_seconds if fabric is not None else 0.0
        self._network = Network(fabric=fabric, time_ns=clock.time_ns)
        self.stop: asyncio.Event = asyncio.Event()
        """Set when it is to end after the message at hand."""
        self.progress: Progress = Progress()
        self._pace = Pace(clock, speed, self.stop)

    def ledger(self) -> Ledger:
        """Its books."""
        return self._network.ledger()

    async def run(self) -> None:
        """Publish until it is over, and until what was published is kept by a store and read from the own one."""
        with contextlib.suppress(_UnconfirmedError):  # the books say how many
            await self._run()

    async def _run(self) -> None:
        sources = sorted({key.source for key in self._window.streams(self._journal)})
        async with AsyncExitStack() as stack:
            buses = {
                source: await stack.enter_async_context(
                    Bus(self._names[source], network=self._network, clock=self._clock)
                )
                for source in sources
            }
            publishers: dict[tuple[int, int], Publisher[Any]] = {}

            def publisher(source: int, type_id: int) -> Publisher[Any]:
                found = publishers.get((source, type_id))
                if found is None:
                    found = buses[source].publisher(self._contracts[type_id].message_type)
                    publishers[source, type_id] = found
                    stack.push_async_exit(found)
                return found

            if self._readers and (late := await self._there(next(iter(buses.values())))):
                self._late(late)
            while not self.stop.is_set() and (self._rounds is None or self.progress.rounds < self._rounds):
                self._pace.begin_anew()
                await self._round(publisher)
            await self._flush(list(publishers.values()))

    async def _flush(self, publishers: list[Publisher[Any]]) -> None:
        """Wait until everything is confirmed; once it was told to end, no longer than closing may take.

        Raises:
            _UnconfirmedError: it was not.
        """
        flushing = asyncio.gather(*(publisher.flush() for publisher in publishers))
        try:
            await self._or_stop(flushing)
            await asyncio.wait([flushing], timeout=self._close_seconds)
            if not flushing.done():
                raise _UnconfirmedError
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)

    async def _or_stop(self, waiting: asyncio.Future[Any]) -> None:
        """Wait for something, or until it is to end."""
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _there(self, bus: Bus) -> frozenset[str]:
        """Wait for readers, unless it is to end meanwhile; those that have not come."""
        waiting = asyncio.ensure_future(bus.readers_there(self._readers, self._ready_seconds))
        try:
            await self._or_stop(waiting)
            return waiting.result() if waiting.done() else frozenset()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _round(self, publisher: Callable[[int, int], Publisher[Any]]) -> None:
        progress, unseen = self.progress, 0
        for _, envelope in read_in_order(self._journal, self._window):
            await self._pace.wait(envelope.published)
            if self.stop.is_set():
                return
            messages = self._codecs[envelope.type_id].decode(envelope.payload, envelope.count)
            await publisher(envelope.source, envelope.type_id).publish_many(messages)
            progress.published += envelope.count
            progress.time_ns = envelope.published
            unseen += envelope.count
            if unseen >= YIELD_EVERY:
                unseen = 0
                await asyncio.sleep(0)
        progress.rounds += 1
        await asyncio.sleep(0)
