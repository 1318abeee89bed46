"""Takes everything that stores keep of some contracts, without a hole or a repeat: for recorders.

Theory of operation. A store is asked again and again how far its streams reach; what is new is fetched with credits, a
few frames of each stream at a time, and handed over in the order in which it was published. So nothing depends on
whether frames that come by themselves arrive: who is slow lags, and that is all. What the store does not have any more
when its turn comes is a :class:`Loss`, and so is everything else that will never come. Losses are told before
the frames behind them are handed over.

Two things need more. Contracts of delivery class live are kept nowhere: their frames are subscribed to. And a bundle
ends with what it keeps: so at bundles the recorder is a reader, which they wait for, and it listens to their last word
on how far the streams reach. A broker waits for nobody; its journal is there when it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, Self

import msgspec

from mycelium.core.delivery.control import TICK_TOPIC, Fetched, Row, tick_of
from mycelium.core.delivery.frames import Account, Frame, StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import Envelope, decode_frame, encode_frame, source_id
from mycelium.core.errors import ContractError, PathError, WireError
from mycelium.core.topics import Pattern
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.keyring import Credentials
from mycelium.transport.tap import (
    BEAT_SECONDS,
    FETCHED_AT_ONCE,
    FETCHES,
    MAX_BATCH,
    MAX_CREDITS,
    TappedStore,
    Wanted,
    Wish,
)

POLL_SECONDS = 0.25
"""Between two questions how far the streams reach, when there was nothing more. Chosen by us."""

ANSWER_SECONDS = 30.0
"""How long a store that is there may take to answer a question for frames: one whose journal is torn never does."""

READER = "record"
"""What bundles call it."""

NOT_KEPT = "no longer kept"
DAMAGED = "damaged"
MISSED = "live, missed on the way"
ENDED = "the store has ended before they were read"
FORGOTTEN = "the store has begun anew without them"
STRANGE = "of a contract that system.yaml does not have, begun meanwhile"
SILENT = "the store did not answer at the end"


class Loss(NamedTuple):
    """Messages that will never come.

    Args:
        store: where they were, or were to be.
        why: one of few reasons.
        stream: which; None if that is not known.
        first: the first one that is missing.
        last: the last one; below ``first`` if nobody knows how many.
    """

    store: str
    why: str
    stream: StreamKey | None = None
    first: int = 1
    last: int = 0

    @property
    def messages(self) -> int:
        """How many, as far as that is known."""
        return self.last - self.first + 1


class Sink(Protocol):
    """Takes what is gathered. What it raises ends the gathering."""

    def begun(self, store: str, instance: int, places: Mapping[StreamKey, int]) -> None:
        """A store, or another instance of it, has said after which message of each stream it begins."""
        ...

    def take(self, frames: list[Frame]) -> None:
        """Take frames; of each stream they rise, and none repeats a message."""
        ...

    def lose(self, losses: list[Loss]) -> None:
        """Take note of what will never come."""
        ...


class Gathering:
    """Gathers from some stores. Used in one event loop, as an async context manager.

    Args:
        addresses: the stores.
        sink: takes what is found.
        wishes: what to ask for of what is kept.
        live: what to subscribe to, of contracts that are not kept.
        is_live: judges what comes by itself.
        is_strange: whether what a bundle speaks of should have been wished for, had anybody known of it.
        reached: how far an earlier gathering has come, by stream.
        known: the stores of which an earlier gathering knew where to begin, with their instances.
        began_ns: a stream of which nothing is known and whose publisher started later begins with its first message.
        names: service instances that are known.
        credentials: an operator's, at a store that asks for keys.
        told: see :attr:`told`.
    """

    def __init__(
        self,
        addresses: Iterable[StoreAddress],
        sink: Sink,
        wishes: Collection[Wish],
        *,
        live: Collection[bytes] = (),
        is_live: Wanted = lambda _type_id, _topic: False,
        is_strange: Wanted = lambda _type_id, _topic: False,
        reached: Mapping[StreamKey, int] | None = None,
        known: Mapping[str, int] | None = None,
        began_ns: int = 0,
        names: Iterable[str] = (),
        credentials: Credentials | None = None,
        told: asyncio.Event | None = None,
    ) -> None:
        self.sink = sink
        self.wishes: list[Wish] = list(wishes)
        self._parsed = [(type_id, [Pattern.parse(text) for text in texts]) for type_id, texts in wishes]
        self.reached: dict[StreamKey, int] = dict(reached or {})
        """The last message of each stream that was handed over or is lost."""
        self.known: dict[str, int] = dict(known or {})
        self.names: dict[int, str] = {source_id(name): name for name in names}
        """Of the sources, as far as the stores have told."""
        self.told: asyncio.Event = told or asyncio.Event()
        """Set when it is to end with what the stores have then."""
        self.begun: asyncio.Event = asyncio.Event()
        """Set when every store has said where to begin: from there on nothing is missed."""
        self._is_live = is_live
        self.is_strange: Wanted = is_strange
        self._began_ns = began_ns
        self._live: list[tuple[str, Envelope, Frame]] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tick = f"{TICK_TOPIC}\0".encode()
        self._followers: dict[TappedStore, _Follower] = {}
        for address in addresses:
            prefixes = (*live, tick) if address.publish is None else tuple(live)
            store = TappedStore(address, prefixes, credentials, self)
            self._followers[store] = _Follower(self, store)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for store in self._followers:
            store.leave()
            await store.aclose()

    @property
    def lag(self) -> int:
        """Messages that the stores are known to have and that are still to be read."""
        return sum(follower.lag for follower in self._followers.values())

    async def run(self, start: Start, time_ns: int, seconds: float, operator: str = "") -> None:
        """Gather until :attr:`told`, and then to the end of what there is.

        Args:
            start: where to begin.
            time_ns: for ``time``.
            seconds: how long a store may take to answer.
            operator: whose credentials they are, for what is said.

        Raises:
            PathError: a store has not answered in time at the start, or a broker at the end.
        """
        followers = self._followers.values()
        following = [
            asyncio.ensure_future(follower.follow(start, time_ns, seconds, operator)) for follower in followers
        ]
        try:
            waiting: set[asyncio.Future[None]] = {*following, self._failed}
            while not all(task.done() for task in following):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            self._failed.cancel()
        self._take_live()

    def check_begun(self) -> None:
        """A store has said where to begin."""
        if all(follower.has_begun for follower in self._followers.values()):
            self.begun.set()

    # --- what comes by itself ----------------------------------------------------------------

    def on_frame(self, store: TappedStore, frame: bytes) -> None:
        """A frame has come by itself."""
        try:
            envelope = decode_frame(frame)
        except WireError:
            self.guarded(lambda: self.sink.lose([Loss(store.address.name, DAMAGED)]))
            return
        if not self._is_live(envelope.type_id, envelope.topic):
            return
        if not self._live:
            asyncio.get_running_loop().call_soon(lambda: self.guarded(self._take_live))
        self._live.append((store.address.name, envelope, _frame(envelope, frame)))

    def _take_live(self) -> None:
        """Hand over together what has come in one turn of the event loop."""
        frames: list[Frame] = []
        losses: list[Loss] = []
        some, self._live = self._live, []
        for name, envelope, frame in some:
            if frame.stream not in self.reached:
                begins = 1 if envelope.epoch >= self._began_ns else envelope.sequence
                self.reached[frame.stream] = begins - 1
            self.next(frame, name, MISSED, frames, losses)
        self.hand_over(frames, losses)

    def guarded(self, work: Callable[[], None]) -> None:
        """Do what may fail where nobody waits: :meth:`run` raises it."""
        if self._failed.done():
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            self._failed.set_exception(error)

    def on_tick(self, store: TappedStore, frame: bytes) -> None:
        """A store has said how far its streams reach."""
        self._followers[store].on_tick(frame)

    def on_names(self, names: dict[int, str]) -> None:
        """A store has named sources."""
        self.names.update(names)

    def wants(self, type_id: int, topic: str) -> bool:
        """Whether a stream of a store is wished for."""
        return any(
            type_id in (0, wanted) and all(pattern.matches(topic) for pattern in patterns)
            for wanted, patterns in self._parsed
        )

    # --- what is handed over -----------------------------------------------------------------

    def next(self, frame: Frame, store: str, why: str, frames: list[Frame], losses: list[Loss]) -> None:
        """Put a frame behind the others if it says anything new, and what is missing before it to the losses."""
        reached = self.reached[frame.stream]
        if frame.last <= reached:
            return
        if frame.sequence <= reached:
            cut = cut_before(frame, reached + 1)
            if cut is None:
                losses.append(Loss(store, DAMAGED, frame.stream, reached + 1, frame.last))
                self.reached[frame.stream] = frame.last
                return
            frame = cut
        if frame.sequence > reached + 1:
            losses.append(Loss(store, why, frame.stream, reached + 1, frame.sequence - 1))
        self.reached[frame.stream] = frame.last
        frames.append(frame)

    def hand_over(self, frames: list[Frame], losses: list[Loss]) -> None:
        """Tell the sink, losses first."""
        if losses:
            self.sink.lose(losses)
        if frames:
            self.sink.take(frames)


class _Past:
    """What is left to be read of one stream."""

    __slots__ = ("frames", "last", "sequence", "stream", "why")

    def __init__(self, stream: StreamKey, sequence: int, last: int) -> None:
        self.stream = stream
        self.sequence = sequence
        self.last = last
        self.why = NOT_KEPT
        self.frames: deque[tuple[int, Frame]] = deque()
        """With the times at which they were published."""


class _Follower:
    """Gathers from one store.

    Args:
        gathering: that this is a part of.
        store: which.
    """

    def __init__(self, gathering: Gathering, store: TappedStore) -> None:
        self._gathering = gathering
        self._store = store
        self._name = store.address.name
        self._stays = store.address.publish is None
        self._last: dict[StreamKey, int] = {}
        """How far the streams of this store reach, as it has said."""
        self._reading: dict[StreamKey, tuple[int, int]] = {}
        """At a bundle, which of our readers reads a stream, and after which message it has begun."""
        self._reported: dict[StreamKey, int] = {}
        self._strange: dict[StreamKey, int] = {}
        """How far streams reach of which nobody knew that they should be read."""
        self.has_begun: bool = False
        self._instance = 0
        self._tick = 0
        self._is_sure = True
        """Whether no tick was missed since the store was asked last how far its streams reach."""
        self._closed = asyncio.Event()
        """Set when it has said that it ends."""
        self._closed_instance = 0

    @property
    def lag(self) -> int:
        """Messages that are still to be read, as far as is known."""
        reached = self._gathering.reached
        return sum(max(0, last - reached.get(stream, last)) for stream, last in self._last.items())

    async def follow(self, start: Start, time_ns: int, seconds: float, operator: str) -> None:
        """See :meth:`Gathering.run`."""
        await self._begin(start, time_ns, seconds, operator)
        self.has_begun = True
        self._gathering.check_begun()
        told = self._gathering.told
        while True:
            is_last = told.is_set()
            if self._closed.is_set():
                self._settle()
                if is_last:
                    return
                await self._until_back()
                continue
            if not await self._once(seconds):
                if told.is_set() and not self._closed.is_set():
                    return  # it is silent
                continue
            if is_last:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), POLL_SECONDS)

    async def _begin(self, start: Start, time_ns: int, seconds: float, operator: str) -> None:
        store, gathering = self._store, self._gathering
        hint = f"is it running, and does it accept {operator}?" if operator else "is it running?"
        try:
            await asyncio.wait_for(store.ready.wait(), seconds)
        except TimeoutError:
            raise PathError(store.address.control, f"{self._name} has not answered in {seconds:g} s; {hint}") from None
        try:
            stays_as = READER if self._stays else None
            await asyncio.wait_for(store.join(gathering.wishes, start, time_ns, stays_as), seconds)
        except TimeoutError:
            raise PathError(
                store.address.control,
                f"{self._name} does not say where to begin: it may go by another system.yaml, which lets "
                f"{operator or 'us'} read less",
            ) from None
        self._instance = store.instance
        if self._name in gathering.known:
            if self._stays and gathering.known[self._name] != self._instance:
                # What a bundle had when it ended is gone with it, and nobody was there.
                gathering.sink.begun(self._name, self._instance, {})
                gathering.hand_over([], [Loss(self._name, FORGOTTEN)])
            return  # what it has now and an earlier gathering did not know has begun since then
        places = {place.stream: place.begin - 1 for found in store.places.values() for place in found}
        for stream, reached in places.items():
            gathering.reached.setdefault(stream, reached)
        gathering.sink.begun(self._name, self._instance, places)

    async def _once(self, seconds: float) -> bool:
        """Read to where the store reaches now; False if it has ended, or does not answer and it was time to end."""
        reading = asyncio.ensure_future(self._read())
        closing = asyncio.ensure_future(self._closed.wait())
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.wait({reading, closing}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
                    return True
                if self._closed.is_set():
                    break
                if self._gathering.told.is_set() and loop.time() - self._store.heard > seconds:
                    if not self._stays:  # it has it still: whoever goes on finds it
                        raise PathError(self._store.address.control, f"{self._name} has not answered at the end")
                    self._gathering.hand_over([], [*self._unread(SILENT), Loss(self._name, SILENT)])
                    return False
        finally:
            reading.cancel()
            closing.cancel()
            await asyncio.gather(reading, closing, return_exceptions=True)
        return False

    def _settle(self) -> None:
        """It has ended: what was not read by now is lost."""
        losses = self._unread(ENDED)
        if not self._is_sure:
            losses.append(Loss(self._name, ENDED))
        self._last.clear()
        self._reported.clear()
        self._is_sure = True
        self._gathering.hand_over([], losses)

    def _unread(self, why: str, streams: Collection[StreamKey] | None = None) -> list[Loss]:
        """What is known to be there and was not read, of these streams or of all."""
        reached, losses = self._gathering.reached, []
        for stream, last in self._last.items():
            if reached[stream] < last and (streams is None or stream in streams):
                losses.append(Loss(self._name, why, stream, reached[stream] + 1, last))
                reached[stream] = last
        return losses

    async def _until_back(self) -> None:
        """Wait until the store is there again, or it is time to end."""
        while not self._gathering.told.is_set():
            if self._store.instance not in (0, self._closed_instance):
                self._closed.clear()
                self._tick = 0
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gathering.told.wait(), POLL_SECONDS)

    # --- ticks -------------------------------------------------------------------------------

    def on_tick(self, frame: bytes) -> None:
        """A bundle has said how far its streams reach."""
        try:
            tick = tick_of(frame)
        except WireError:
            self._is_sure = False
            return
        if self._tick and tick.number != self._tick + 1:
            self._is_sure = False
        self._tick = tick.number
        wanted, losses = self._gathering.wants, list[Loss]()
        for mark in tick.marks if self._instance else ():  # before it has said where to begin, that comes first
            if mark.stream in self._last or wanted(mark.type_id, mark.stream.topic):
                self._gathering.reached.setdefault(mark.stream, 0)
                self._last[mark.stream] = max(mark.last, self._last.get(mark.stream, 0))
            elif mark.type_id and self._gathering.is_strange(mark.type_id, mark.stream.topic):
                losses.append(Loss(self._name, STRANGE, mark.stream, self._strange.get(mark.stream, 0) + 1, mark.last))
                self._strange[mark.stream] = mark.last
        if losses:
            self._gathering.guarded(lambda: self._gathering.sink.lose(losses))
        if tick.closing:
            self._closed_instance = tick.instance
            self._closed.set()
            self._store.ready.clear()  # it is asked more often until it is there again, and may not be there for long

    # --- reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        store, gathering = self._store, self._gathering
        self._is_sure = True
        found = await store.marks(gathering.wishes)
        losses: list[Loss] = []
        marks = {mark.stream: mark for marks in found for mark in marks}
        if store.instance != self._instance:
            former, self._instance = self._instance, store.instance
            gathering.sink.begun(self._name, self._instance, {})
            gone = {stream for stream in self._last if stream not in marks}
            losses += self._unread(FORGOTTEN, gone)
            # A bundle that was killed had more than it has told; a broker has its journal.
            if gone or (self._stays and self._closed_instance != former):
                losses.append(Loss(self._name, FORGOTTEN))
            for stream in gone:
                del self._last[stream]
        behind: list[_Past] = []
        for stream, mark in marks.items():
            # A stream that was not there at the beginning has begun since then, with its first message.
            reached = gathering.reached.setdefault(stream, 0)
            self._last[stream] = mark.last
            if mark.last > reached:
                behind.append(_Past(stream, reached + 1, mark.last))
        gathering.hand_over([], losses)
        if self._stays:
            for reader, some in zip(store.readers, found, strict=True):
                for mark in some:
                    self._reading.setdefault(mark.stream, (reader, gathering.reached[mark.stream]))
        await self._merge(behind)
        self._report()

    def _report(self) -> None:
        """Say to a bundle how far we are, so that it does not wait longer than it must."""
        if not self._stays:
            return
        rows: dict[int, list[Row]] = {}
        for stream, (reader, joined) in self._reading.items():
            reached = self._gathering.reached[stream]
            if stream in self._last and self._reported.get(stream) != reached:
                self._reported[stream] = reached
                rows.setdefault(reader, []).append(Row(stream, Account(joined, reached, reached - joined, {})))
        for reader, some in rows.items():
            self._store.report(reader, tuple(some))

    async def _merge(self, streams: list[_Past]) -> None:
        """Hand over what is kept of some streams, in the order in which it was published."""
        if not streams:
            return
        amount = max(1, min(MAX_CREDITS, FETCHED_AT_ONCE // len(streams)))
        for first in range(0, len(streams), FETCHES):
            await asyncio.gather(*(self._fetch(stream, amount) for stream in streams[first : first + FETCHES]))
        heads = [(stream.frames[0][0], number) for number, stream in enumerate(streams) if stream.frames]
        heapq.heapify(heads)
        frames: list[Frame] = []
        losses: list[Loss] = []
        while heads:
            stream = streams[heads[0][1]]
            self._gathering.next(stream.frames.popleft()[1], self._name, stream.why, frames, losses)
            has_more = stream.frames or stream.sequence <= stream.last
            if len(frames) >= MAX_BATCH or not stream.frames:
                self._gathering.hand_over(frames, losses)
                frames, losses = [], []
            if has_more and not stream.frames:
                await self._fetch(stream, amount)
            if stream.frames:
                heapq.heapreplace(heads, (stream.frames[0][0], heads[0][1]))
            else:
                heapq.heappop(heads)
        reached = self._gathering.reached
        for stream in streams:
            if reached[stream.stream] < stream.last:
                losses.append(Loss(self._name, stream.why, stream.stream, reached[stream.stream] + 1, stream.last))
                reached[stream.stream] = stream.last
        self._gathering.hand_over(frames, losses)

    async def _fetch(self, past: _Past, amount: int) -> None:
        """Get the next frames of a stream; none if there are no more."""
        while not past.frames and past.sequence <= past.last:
            answer = await self._answer(past, amount)
            if answer is None:
                past.why, past.sequence = DAMAGED, past.last + 1
                return
            before = past.sequence
            for data in answer.frames:
                try:
                    envelope = decode_frame(data)
                except WireError:
                    past.why = DAMAGED
                    continue
                frame = _frame(envelope, data)
                if frame.stream != past.stream:
                    past.why = DAMAGED
                    continue
                past.sequence = max(past.sequence, frame.last + 1)
                past.frames.append((envelope.published, frame))
            if not answer.frames:
                past.sequence = max(past.sequence, min(answer.mark.first, past.last + 1))
            if past.sequence == before:  # it is not kept any more, whatever the reason
                past.sequence = past.last + 1

    async def _answer(self, past: _Past, amount: int) -> Fetched | None:
        """The answer of the store; None if it is there and does not answer: what it keeps cannot be read."""
        loop = asyncio.get_running_loop()
        fetching = asyncio.ensure_future(self._store.fetch(past.stream, past.sequence, amount))
        try:
            while not (await asyncio.wait([fetching], timeout=ANSWER_SECONDS))[0]:
                if loop.time() - self._store.heard < 3 * BEAT_SECONDS:
                    return None
            return fetching.result()
        finally:
            fetching.cancel()


def _frame(envelope: Envelope, data: bytes) -> Frame:
    return Frame(StreamKey(envelope.source, envelope.epoch, envelope.topic), envelope.sequence, envelope.count, data)


def cut_before(frame: Frame, sequence: int) -> Frame | None:
    """The messages of a frame from one on, as a frame of their own; None if it cannot be taken apart.

    A store that has lost its end gets messages again, and may get them in other frames than before.
    """
    envelope = decode_frame(frame.data)
    try:
        messages = msgspec.msgpack.decode(envelope.payload, type=list[msgspec.Raw])
        rest = messages[sequence - frame.sequence :]
        if len(messages) != frame.count:
            return None
        payload = msgspec.msgpack.encode(rest)
        changed = msgspec.structs.replace(envelope, sequence=sequence, count=len(rest), payload=payload)
        return _frame(changed, encode_frame(changed))
    except (msgspec.MsgspecError, ContractError):
        return None
