"""Reads along with stores without being one of their readers: for tools that look on and must not be felt.

Theory of operation. A tap subscribes to frames and asks for nothing: it has no account at a store, no repair is made
for it, and nobody waits for it. What it has no time for it drops itself, the oldest first, and counts; what the
network drops on the way shows as a hole in a stream, and is counted too.

One that begins earlier asks where: it joins, and leaves as soon as it is answered, so that a store does not wait for
it when it closes. Then it fetches what is kept, stream by stream, a few frames at a time and as fast as they are
taken from it, in the order in which they were published. Frames that come meanwhile are put aside. Those it has no
room for are fetched later, before it goes over to the live flow: so there is no hole and no repeat between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import zmq

from mycelium.core.delivery.control import (
    PROBE_TOPIC,
    TICK_TOPIC,
    Alive,
    AskMarks,
    Fetch,
    Fetched,
    Here,
    Join,
    Joined,
    Leave,
    Mark,
    Marks,
    Probe,
    Report,
    Row,
    Unknown,
    encode,
    from_store,
    probe_frame,
)
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import Envelope, decode_frame, source_id
from mycelium.core.errors import WireError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.curve import options_of
from mycelium.transport.keyring import Credentials
from mycelium.transport.sockets import Port, dealer

MAX_MESSAGES = 10_000
MAX_BYTES = 32 << 20
"""What waits in a tap, at most. Chosen by us: what a terminal shows in some seconds, and little beside a process."""

MAX_STREAMS = 100_000
"""Streams whose place is remembered. Beyond, all are forgotten: a repeat could be shown, and a hole not be seen."""

MAX_BATCH = 256
"""Frames handed over at once."""

MAX_UNBROKEN = 16_384
"""Frames in a row, with more behind them, after which those that wait are thrown away: nobody could read them."""

BEAT_SECONDS = 1.0
ASK_SECONDS = 0.25
"""Between two questions that nobody has answered."""

MAX_CREDITS = 64
FETCHED_AT_ONCE = 512
"""Frames that are fetched from all streams together before any is handed over, about."""
FETCHES = 8

_MAX_PROBE = 1 << 62

Wish: TypeAlias = tuple[int, tuple[str, ...]]
"""A type id, and patterns that a topic must all match."""

Wanted: TypeAlias = Callable[[int, str], bool]
"""Whether messages of a type id on a topic are wanted."""


class Seen(NamedTuple):
    """A frame, whose first ``skip`` messages were seen before."""

    envelope: Envelope
    skip: int = 0


class Tap:
    """Reads along with some stores. Used in one event loop, as an async context manager.

    Args:
        addresses: the stores.
        prefixes: what to subscribe to.
        wanted: judges what comes.
        names: service instances that are known.
        credentials: an operator's, at a store that asks for keys.
        max_messages: that wait in it.
        max_bytes: that their frames have.
    """

    def __init__(
        self,
        addresses: Iterable[StoreAddress],
        prefixes: Collection[bytes],
        wanted: Wanted,
        *,
        names: Iterable[str] = (),
        credentials: Credentials | None = None,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._names = {source_id(name): name for name in names}
        self._wanted = wanted
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._waiting: deque[tuple[TappedStore, Seen]] = deque()
        self._messages = self._bytes = 0
        self._arrived = asyncio.Event()
        self._reached: dict[StreamKey, int] = {}
        # While what is kept is being read: what of the live flow there was no room for, first and last, by stream.
        self._catching_up = False
        self._left_out: dict[StreamKey, tuple[TappedStore, int, int]] = {}
        self.missed: int = 0
        """Messages that were not handed over: dropped here, or on the way, or kept no longer."""
        self.refused: int = 0
        """Frames that were damaged."""
        self._stores = [TappedStore(address, prefixes, credentials, self) for address in addresses]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for store in self._stores:
            await store.aclose()

    def source_name(self, source: int) -> str:
        """The name of a source, as far as the stores have told it."""
        return self._names.get(source, f"{source:016x}")

    async def silent(self, seconds: float) -> list[StoreAddress]:
        """Wait until every store has answered and the subscriptions are in force; those where it was not in time."""
        await _at_most(asyncio.gather(*(store.ready.wait() for store in self._stores)), seconds)
        return [store.address for store in self._stores if not store.ready.is_set()]

    async def begin(self, wishes: Collection[Wish], start: Start, time_ns: int, seconds: float) -> list[StoreAddress]:
        """Begin at ``start``, with what is kept of these wishes.

        Args:
            wishes: what is read.
            start: where to begin.
            time_ns: for ``time``.
            seconds: how long a store may take to answer.

        Returns:
            Those that have answered before, and do not answer this: they do not grant it.
        """
        self._catching_up = start is not Start.NEW
        there = [store for store in self._stores if store.ready.is_set()]
        await _at_most(asyncio.gather(*(store.join(wishes, start, time_ns) for store in there)), seconds)
        return [store.address for store in there if len(store.places) < len(wishes)]

    async def batches(self) -> AsyncIterator[list[Seen]]:
        """What comes, some frames at a time: first what is kept, where :meth:`begin` said so, then what is new."""
        if self._catching_up:
            async for batch in self.kept():
                yield batch
        while True:
            await self._arrived.wait()
            batch = []
            while self._waiting and len(batch) < MAX_BATCH:
                batch.append(self._pop()[1])
            if not self._waiting:
                self._arrived.clear()
            yield batch

    # --- what is new -------------------------------------------------------------------------

    def on_frame(self, store: TappedStore, frame: bytes) -> None:
        """A frame has come by itself."""
        try:
            envelope = decode_frame(frame)
        except WireError:
            self.refused += 1
            return
        if not self._wanted(envelope.type_id, envelope.topic):
            return
        if self._catching_up:
            self._push(store, Seen(envelope))
        else:
            self._follow(store, envelope)

    def _follow(self, store: TappedStore, envelope: Envelope) -> None:
        """Take a frame if it is no repeat, and count what is missing before it."""
        seen = self._next(envelope)
        if seen is not None:
            self._push(store, seen)

    def _next(self, envelope: Envelope) -> Seen | None:
        key = _key(envelope)
        first, last = envelope.sequence, envelope.sequence + envelope.count - 1
        reached = self._reached.get(key, first - 1)
        if last <= reached:
            return None
        self.missed += max(0, first - reached - 1)
        if len(self._reached) >= MAX_STREAMS and key not in self._reached:
            self._reached.clear()
        self._reached[key] = last
        return Seen(envelope, max(0, reached + 1 - first))

    def _push(self, store: TappedStore, seen: Seen) -> None:
        self._waiting.append((store, seen))
        self._messages += seen.envelope.count - seen.skip
        self._bytes += len(seen.envelope.payload)
        while len(self._waiting) > 1 and (self._messages > self._max_messages or self._bytes > self._max_bytes):
            self._drop(*self._pop())
        self._arrived.set()

    def _pop(self) -> tuple[TappedStore, Seen]:
        store, seen = self._waiting.popleft()
        self._messages -= seen.envelope.count - seen.skip
        self._bytes -= len(seen.envelope.payload)
        return store, seen

    def _drop(self, store: TappedStore, seen: Seen) -> None:
        envelope = seen.envelope
        if not self._catching_up:
            self.missed += envelope.count - seen.skip
            return
        if len(self._left_out) >= MAX_STREAMS:
            self._left_out.clear()
        first = self._left_out.get(_key(envelope), (store, envelope.sequence, 0))[1]
        self._left_out[_key(envelope)] = (store, first, envelope.sequence + envelope.count - 1)

    # --- what is kept ------------------------------------------------------------------------

    async def kept(self) -> AsyncIterator[list[Seen]]:
        """What is kept, from where :meth:`begin` said to now, in the order in which it was published."""
        past: list[_Past] = []
        for store in self._stores:
            for place in itertools.chain.from_iterable(store.places.values()):
                self._reached[place.stream] = place.begin - 1
                if place.begin <= place.last:
                    past.append(_Past(store, place.stream, place.begin, place.last))
        while past:
            async for batch in self._merged(past):
                yield batch
            past = []
            left_out, self._left_out = self._left_out, {}
            for key, (store, first, last) in left_out.items():
                begin = self._reached.get(key, first - 1) + 1
                if begin <= last:
                    past.append(_Past(store, key, begin, last))
        # From here on nothing is awaited: what was put aside follows what was read.
        self._catching_up = False
        aside, self._waiting = self._waiting, deque()
        self._messages = self._bytes = 0
        for store, seen in aside:
            self._follow(store, seen.envelope)

    async def _merged(self, streams: list[_Past]) -> AsyncIterator[list[Seen]]:
        """What is kept of some streams, in the order in which it was published."""
        amount = max(1, min(MAX_CREDITS, FETCHED_AT_ONCE // len(streams)))
        for first in range(0, len(streams), FETCHES):
            await asyncio.gather(*(self._fetch(stream, amount) for stream in streams[first : first + FETCHES]))
        heads = [(stream.frames[0].published, number) for number, stream in enumerate(streams) if stream.frames]
        heapq.heapify(heads)
        batch: list[Seen] = []
        while heads:
            _, number = heads[0]
            stream = streams[number]
            seen = self._next(stream.frames.popleft())
            if seen is not None:
                batch.append(seen)
            if not stream.frames and stream.sequence <= stream.last:
                if batch:
                    yield batch
                    batch = []
                await self._fetch(stream, amount)
            if stream.frames:
                heapq.heapreplace(heads, (stream.frames[0].published, number))
            else:
                heapq.heappop(heads)
            if len(batch) >= MAX_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _fetch(self, stream: _Past, amount: int) -> None:
        """Get the next frames of a stream; none if there are no more."""
        while not stream.frames and stream.sequence <= stream.last:
            answer = await stream.store.fetch(stream.key, stream.sequence, amount)
            before = stream.sequence
            for data in answer.frames:
                try:
                    envelope = decode_frame(data)
                except WireError:
                    self.refused += 1
                    continue
                stream.sequence = max(stream.sequence, envelope.sequence + envelope.count)
                if self._wanted(envelope.type_id, envelope.topic):
                    stream.frames.append(envelope)
            if not answer.frames:
                stream.sequence = max(stream.sequence, min(answer.mark.first, stream.last + 1))
            if stream.sequence == before:  # it is not kept any more, whatever the reason
                stream.sequence = stream.last + 1

    # --- names -------------------------------------------------------------------------------

    def on_names(self, names: dict[int, str]) -> None:
        """A store has named sources."""
        if len(self._names) < MAX_STREAMS:
            self._names.update(names)

    def on_tick(self, store: TappedStore, frame: bytes) -> None:
        """A store has said how far its streams reach, where everything is subscribed to. Frames say it, too."""


class _Past:
    """What is left to be read of one stream.

    Args:
        store: that keeps it.
        key: of the stream.
        sequence: the next message to fetch.
        last: the last one.
    """

    __slots__ = ("frames", "key", "last", "sequence", "store")

    def __init__(self, store: TappedStore, key: StreamKey, sequence: int, last: int) -> None:
        self.store = store
        self.key = key
        self.sequence = sequence
        self.last = last
        self.frames: deque[Envelope] = deque()


class Listener(Protocol):
    """Takes what comes from a store by itself."""

    def on_frame(self, store: TappedStore, frame: bytes) -> None:
        """A frame has come."""
        ...

    def on_names(self, names: dict[int, str]) -> None:
        """The store has named sources."""
        ...

    def on_tick(self, store: TappedStore, frame: bytes) -> None:
        """The store has said how far its streams reach."""
        ...


class TappedStore:
    """One store, as a tap sees it.

    Args:
        address: where it is.
        prefixes: what to subscribe to.
        credentials: an operator's.
        tap: takes what comes.
    """

    def __init__(
        self, address: StoreAddress, prefixes: Collection[bytes], credentials: Credentials | None, tap: Listener
    ) -> None:
        self.address = address
        self.instance: int = 0
        """Of the store, as it has said last; 0 before."""
        self.heard: float = asyncio.get_running_loop().time()
        """When it has answered last, in the time of the event loop."""
        self.ready: asyncio.Event = asyncio.Event()
        """Set when it has answered and the subscriptions are in force."""
        self.places: dict[int, tuple[Any, ...]] = {}
        """Where to begin, by the number of the wish."""
        self.readers: list[int] = []
        """Those that stay, in the order of the wishes."""
        self._tap = tap
        self._probe = probe_frame(number := 1 + secrets.randbelow(_MAX_PROBE))
        self._question = Probe(number)
        self._probed = self._answered = False
        self._numbers = itertools.count(1)
        self._joining: dict[int, asyncio.Future[Joined]] = {}
        self._fetching: dict[int, asyncio.Future[Fetched]] = {}
        self._marking: dict[int, asyncio.Future[Marks]] = {}
        self._staying: dict[int, Join] = {}
        keys = options_of(credentials)
        self._frames = Port(zmq.SUB, self._on_frames, options={zmq.RCVHWM: 0, zmq.SNDHWM: 0, **keys})
        self._control = dealer(self._on_answers, keys)
        for prefix in (*prefixes, self._probe):
            self._frames.option(zmq.SUBSCRIBE, prefix)
        self._frames.connect(address.frames)
        self._control.connect(address.control)
        self._beating = asyncio.get_running_loop().create_task(self._beat_forever(), name=f"tap {address.name}")

    async def _beat_forever(self) -> None:
        while True:
            self._control.send(encode(Alive((), tuple(self._staying))))
            if not self._probed:
                self._control.send(encode(self._question))
            await asyncio.sleep(BEAT_SECONDS if self.ready.is_set() else ASK_SECONDS)

    async def join(self, wishes: Iterable[Wish], start: Start, time_ns: int, stays_as: str | None = None) -> None:
        """Ask where to begin with each wish. What is not granted is not answered.

        Args:
            wishes: what is read.
            start: where to begin.
            time_ns: for ``time``.
            stays_as: the name of a reader that stays, so that the store waits for it when it ends; None to leave as
                soon as it is answered.
        """
        for number, (type_id, patterns) in enumerate(wishes):
            reader = next(self._numbers)
            answer = self._joining[reader] = asyncio.get_running_loop().create_future()
            said = Join(reader, stays_as or "tap", type_id, patterns, start, time_ns)
            if stays_as is not None:
                self._staying[reader] = said
                self.readers.append(reader)
            question = encode(said)
            while not answer.done():
                self._control.send(question)
                await asyncio.wait([answer], timeout=ASK_SECONDS * 4)
            self.places[number] = answer.result().places

    async def fetch(self, stream: StreamKey, sequence: int, amount: int) -> Fetched:
        """Frames of a stream from a message on, at most so many. Asks until it is answered."""
        reader = next(self._numbers)
        answer: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._fetching[reader] = answer
        question = encode(Fetch(reader, stream, sequence, amount))
        try:
            while not answer.done():
                self._control.send(question)
                await asyncio.wait([answer], timeout=BEAT_SECONDS)
            return answer.result()
        finally:
            self._fetching.pop(reader, None)

    async def marks(self, wishes: Iterable[Wish]) -> list[tuple[Mark, ...]]:
        """How far the streams of each wish reach now. Asks until it is answered."""
        return list(await asyncio.gather(*(self._marks(*wish) for wish in wishes)))

    async def _marks(self, type_id: int, patterns: tuple[str, ...]) -> tuple[Mark, ...]:
        serial = next(self._numbers)
        answer: asyncio.Future[Marks] = asyncio.get_running_loop().create_future()
        self._marking[serial] = answer
        question = encode(AskMarks(0, serial, type_id, patterns))
        try:
            while not answer.done():
                self._control.send(question)
                await asyncio.wait([answer], timeout=BEAT_SECONDS)
            return answer.result().marks
        finally:
            self._marking.pop(serial, None)

    def report(self, reader: int, rows: tuple[Row, ...]) -> None:
        """Say how far a reader that stays is."""
        self._control.send(encode(Report(reader, self._staying[reader].name, next(self._numbers), False, rows)))  # noqa: FBT003 - a message, whose fields are in wire order

    def leave(self) -> None:
        """Nobody is to wait for those that stay any more."""
        for reader, said in self._staying.items():
            self._control.send(encode(Leave(reader, said.name)))
        self._staying.clear()

    def _on_frames(self, burst: list[Any]) -> None:
        if self._frames.unbroken > MAX_UNBROKEN:
            self._frames.skip(MAX_UNBROKEN)  # each stream shows it as a hole
        for frame in burst:
            if frame.startswith(_FABRIC):
                if frame == self._probe and not self._probed:
                    self._probed = True
                    self._frames.option(zmq.UNSUBSCRIBE, self._probe)
                    self._check_ready()
                elif frame.startswith(_TICK):
                    self._tap.on_tick(self, frame)
                continue
            self._tap.on_frame(self, frame)

    def _on_answers(self, burst: list[Any]) -> None:
        self.heard = asyncio.get_running_loop().time()
        for data in burst:
            try:
                said = from_store(data)
            except WireError:
                continue  # a newer store may say more than we know
            if isinstance(said, Here):
                self._answered = True
                self.instance = said.instance
                self._tap.on_names(said.names)
                self._check_ready()
            elif isinstance(said, Joined):
                self._tap.on_names(said.names)
                if said.reader not in self._staying:  # it is no reader: nobody is to wait for it
                    self._control.send(encode(Leave(said.reader, "tap")))
                _settle(self._joining.pop(said.reader, None), said)
            elif isinstance(said, Fetched):
                _settle(self._fetching.pop(said.reader, None), said)
            elif isinstance(said, Marks):
                _settle(self._marking.get(said.serial), said)
            elif isinstance(said, Unknown):
                for reader in said.readers:
                    if reader in self._staying:
                        self._control.send(encode(self._staying[reader]))

    def _check_ready(self) -> None:
        if self._answered and self._probed:
            self.ready.set()

    async def aclose(self) -> None:
        """Let go of it."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._frames.close()
        self._control.close()


_TICK = TICK_TOPIC.encode() + b"\0"
_FABRIC = (_TICK, TICK_TOPIC.encode() + b".", PROBE_TOPIC.encode())
"""What stores say among the frames. It is no message."""


def _key(envelope: Envelope) -> StreamKey:
    return StreamKey(envelope.source, envelope.epoch, envelope.topic)


def _settle(answer: asyncio.Future[Any] | None, said: object) -> None:
    if answer is not None and not answer.done():
        answer.set_result(said)


async def _at_most(waiting: asyncio.Future[Any], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(waiting, seconds)
