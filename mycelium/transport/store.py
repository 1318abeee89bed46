"""A store: keeps frames in its journal, sends them to whoever has subscribed, and answers its clients.

The broker is one; over ipc every bundle is one for what it publishes itself. Two sockets: an XPUB for the frames
and the ticks, a ROUTER for everything that is asked (:mod:`mycelium.core.delivery.control`).

The XPUB drops what a slow reader has no room for. That is meant: one stalled reader must not stop the others,
and what it missed it reads from the journal.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import structlog
import zmq

from mycelium.core.delivery.control import (
    Fetch,
    FromStore,
    Mark,
    Probe,
    Tick,
    encode,
    from_client,
    probe_frame,
    tick_frame,
)
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.errors import AccessError, PathError, WireError
from mycelium.journal import Entry, Journal, JournalDamagedError, JournalFullError, JournalStatistics
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.audience import Audience
from mycelium.transport.binding import Hold, bind
from mycelium.transport.clerk import Clerk
from mycelium.transport.complaints import Complaints
from mycelium.transport.door import Door
from mycelium.transport.guard import NOT_GRANTED, NOT_READ, Guard, name_of
from mycelium.transport.limits import DEFAULT_LIMITS, Limits
from mycelium.transport.sockets import Port, Received

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("store")

TICK_SECONDS = 0.25
"""Between two ticks: how long a lost last frame of a stream stays unnoticed. Chosen by us."""

FRAMES_HIGH_WATER = 512
"""Frames that wait for one reader before it is left to read from the journal."""

ANSWERS_HIGH_WATER = 64
"""Answers that wait for one client: one that asks and does not read costs 16 MB at most."""

MAX_SUBSCRIPTION = 4 << 10
"""Bytes of what a reader says at the port for frames: the longest topic, and what a handshake takes. libzmq has a node
of some 50 bytes for every byte of a subscription before it asks whether that is granted."""

MAX_TICK_MARKS = 5_000

REQUESTS_HIGH_WATER = 64
"""Requests of one client that wait in the socket: with libzmq's 1,000, of the largest kind, that would be 2 GB."""

MAX_FETCHES = 10_000
"""Requests that wait to be answered."""

_Wanted: TypeAlias = tuple[int, StreamKey]
"""A reader at a client, and the stream of which it misses something."""

REST = 3
"""While others publish, answering repairs takes a quarter of the time at most. Measured with ``benchmarks.catch_up``,
see ADR 0013."""

TRIM_FRAMES = 500
"""Removed in one go: some 4 ms in which nothing else is done."""


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A store at one moment. Counts are since it was opened.

    Args:
        journal: what it keeps frames in.
        kept_messages: messages kept.
        clients: processes that are there.
        connections: of each port that others in the network reach, by its name.
        subscriptions: prefixes that are subscribed to, by all readers together.
        repairs: requests for frames from the journal that were answered.
        repairs_waiting: those that wait.
        expired: messages that retention has removed, by cause.
        refused: messages and frames refused, by cause.
        lags: how many messages each durable reader or group is behind.
    """

    journal: JournalStatistics
    kept_messages: int
    clients: int
    connections: Mapping[str, int]
    subscriptions: int
    repairs: int
    repairs_waiting: int
    expired: Mapping[str, int]
    refused: Mapping[str, int]
    lags: Mapping[str, int]


class Store:
    """One store, in the running event loop.

    Args:
        address: where to bind.
        journal: what to keep frames in. Whoever made it closes it.
        time_ns: the time.
        names: service instances that are known to publish here.
        on_said: takes what clients say that is not for the store: ``(peer, said)``; True if it was dealt with.
        on_synced: called when the journal may have become more durable.
        guard: judges what clients say, at a store with keys.
        keys: options of libzmq for its sockets, at a store with keys.
        limits: what one client may ask for.
    """

    def __init__(
        self,
        address: StoreAddress,
        journal: Journal,
        time_ns: Callable[[], int],
        *,
        names: Collection[str] = (),
        on_said: Callable[[bytes, Any], bool] = lambda _peer, _said: False,
        on_synced: Callable[[], None] = lambda: None,
        guard: Guard | None = None,
        keys: Mapping[int, int | bytes] = MappingProxyType({}),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.address = address
        self.journal = journal
        self.instance: int = time_ns()
        self.clerk: Clerk = Clerk(journal, self.instance, time_ns, names, limits)
        self.complaints: Complaints = Complaints(time_ns)
        self._guard = guard
        self._limits = limits
        self._audience = Audience(limits)
        self._time_ns = time_ns
        self._on_said = on_said
        self._on_synced = on_synced
        self.expired: dict[str, int] = {}
        """Messages that retention has removed, by cause."""
        self._dirty: dict[StreamKey, None] = {}
        # By who they are for; without keys they are for everybody.
        self._ticks: Counter[str] = Counter()
        self._closed = False
        self._frames = Port(
            zmq.XPUB,
            lambda _burst: None,
            on_each=self._subscribe,
            options={
                zmq.XPUB_MANUAL: 1,
                zmq.SNDHWM: FRAMES_HIGH_WATER,
                zmq.MAXMSGSIZE: MAX_SUBSCRIPTION,
                **keys,
            },
            attributed=True,
        )
        self._control = Port(
            zmq.ROUTER,
            self._on_requests,
            options={
                zmq.ROUTER_MANDATORY: 1,
                zmq.ROUTER_HANDOVER: 1,
                zmq.SNDHWM: ANSWERS_HIGH_WATER,
                zmq.RCVHWM: REQUESTS_HIGH_WATER,
                **keys,
            },
            attributed=True,
        )
        self._loop = asyncio.get_running_loop()
        self._doors: list[Door] = []
        self._repairs = 0
        # Whose turn it is, and what each client has asked for last of each reader and stream: one that waits long asks
        # again, and is answered once.
        self._fetches: deque[tuple[bytes, _Wanted]] = deque()
        self._fetches_of: dict[bytes, dict[_Wanted, tuple[str, Fetch]]] = {}
        self._has_sent = False
        """Whether frames have left since a repair was answered last: somebody lives."""
        self._held: list[Hold] = []
        self._ticking: asyncio.Task[None] | None = None
        self._said = asyncio.Event()

    def open(self) -> None:
        """Bind, and answer from now on.

        Raises:
            PathError: an endpoint is taken.
        """
        if not self.address.frames.startswith("ipc://"):
            # Others in the network; over ipc the file system says who may come.
            self._doors = [self.door(self._frames, on_left=self._audience.left), self.door(self._control)]
        try:
            for port, endpoint in ((self._frames, self.address.frames), (self._control, self.address.control)):
                held = bind(port, endpoint)
                if held is not None:
                    self._held.append(held)
        except PathError:
            self._let_go(linger_ms=0)
            raise
        self._ticking = asyncio.get_running_loop().create_task(self._tick_forever(), name="store ticks")

    def door(self, port: Port, on_left: Callable[[int], None] = lambda _descriptor: None) -> Door:
        """See to the connections of a port that is about to be bound."""
        return Door(
            port,
            self._limits,
            self._loop.time,
            on_left=on_left,
            accepts=self._guard.is_accepted if self._guard is not None else lambda _user: True,
            refuse=self.refuse_connection,
        )

    def refuse_connection(self, who: str, cause: str) -> None:
        """Count a connection that was refused or ended, and say so now and then."""
        self.clerk.refuse(who, cause)
        self.complaints.say(who, cause)

    def renewed(self, gone: frozenset[str]) -> None:
        """The guard judges by other rules: end what it does not grant any more.

        Args:
            gone: users that are not accepted any more.
        """
        for door in self._doors:
            door.cut_all(gone)
        if self._guard is None:
            return
        for descriptor, prefixes in self._audience.held():
            user = self._doors[0].user(descriptor)
            # libzmq cannot take back what it has granted. Whoever is cut comes again, and gets what is still its.
            if not all(self._guard.may_subscribe(user, prefix) for prefix in prefixes):
                self._doors[0].cut(descriptor, NOT_GRANTED)

    def use_keys(self, keys: Mapping[int, int | bytes]) -> None:
        """Meet new connections with these keys."""
        for port in (self._frames, self._control):
            port.bind_anew(keys)

    @property
    def subscriptions(self) -> int:
        """Prefixes that are subscribed to, by all readers together."""
        return self._audience.total

    def statistics(self) -> StoreStatistics:
        """What it has and has done so far."""
        return StoreStatistics(
            journal=self.journal.statistics(),
            kept_messages=sum(extent.last - extent.first + 1 for extent in self.journal.streams()),
            clients=self.clerk.clients,
            connections={name: len(door) for name, door in zip(("frames", "control"), self._doors, strict=False)},
            subscriptions=self.subscriptions,
            repairs=self._repairs,
            repairs_waiting=len(self._fetches),
            expired=dict(self.expired),
            refused=self.clerk.refused.frozen(),
            lags=self.clerk.lags(),
        )

    async def aclose(self, *, linger_ms: int = 0) -> None:
        """Stop answering; for ``linger_ms`` libzmq goes on sending what it has."""
        if self._closed:
            return
        self._say_marks()  # whoever has not got everything must be able to see it
        self._closed = True
        for name in self._listeners():
            self._frames.send(tick_frame(Tick(self.instance, self._ticks[name] + 1, (), {}, closing=True), name))
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        self._let_go(linger_ms)

    def _let_go(self, linger_ms: int) -> None:
        self._closed = True
        self._frames.close(linger_ms=linger_ms)
        self._control.close(linger_ms=linger_ms)
        for held in self._held:
            held.close()

    # --- frames ------------------------------------------------------------------------------

    def keep(self, frames: Sequence[Frame], type_ids: Sequence[int]) -> None:
        """Append frames to the journal, all or none, then send them to their readers.

        Raises:
            JournalFullError: there is no room; nothing was kept or sent.
        """
        now = self._time_ns()
        self.journal.append([Entry(frame.stream, frame.sequence, frame.count, now, frame.data) for frame in frames])
        send, dirty, clerk = self._frames.send, self._dirty, self.clerk
        self._has_sent = True
        for frame, type_id in zip(frames, type_ids, strict=True):
            if frame.stream not in dirty:
                dirty[frame.stream] = None
                clerk.begun(frame.stream, type_id)
            send(frame.data)
        self._say_due()

    def pass_on(self, frame: bytes) -> None:
        """Send a frame that is not kept: delivery class live."""
        self._has_sent = True
        self._frames.send(frame)

    async def readers_done(self, seconds: float) -> bool:
        """Wait until every reader that is there has reported to be done with everything; False if not in time."""
        return await self._until(self.clerk.all_done, seconds)

    async def readers_there(self, names: frozenset[str], seconds: float) -> frozenset[str]:
        """Wait until these readers have joined; those that have not in time."""
        await self._until(lambda: names <= set(self.clerk.readers()), seconds)
        return names - set(self.clerk.readers())

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until what clients say has made ``condition`` true; False if it did not in time."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._said.clear()
                    await self._said.wait()
        except TimeoutError:
            return condition()
        return True

    # --- clients -----------------------------------------------------------------------------

    def say(self, peer: bytes, said: FromStore) -> bool:
        """Say something to a client; False if it is gone or does not listen."""
        return self._control.send_to(peer, encode(said))

    def _on_requests(self, burst: Iterable[Received]) -> None:
        for received in burst:
            if self._doors:
                self._doors[1].said(received.descriptor, received.user)
            try:
                if received.parts != 1:
                    raise WireError(f"a message of {received.parts} parts, expected 1")
                self._on_request(received.peer, received.user, received.data)
            except (WireError, JournalDamagedError, AccessError) as error:
                self._refuse(received.peer, received.user, error)

    def _on_request(self, peer: bytes, user: str, data: bytes) -> None:
        said = from_client(data)
        if self._guard is not None:
            said = self._guard.judged(user, said)
        if isinstance(said, Probe):
            self.clerk.heard(peer, user)
            self._frames.send(probe_frame(said.number))
            return
        if isinstance(said, Fetch):
            self._fetch_later(peer, user, said)
            return
        self.clerk.heard(peer, user)
        if self._on_said(peer, said):
            return
        answers = self.clerk.answer(peer, said, user)
        self._said.set()
        for to, answer in answers:
            if not self.say(to, answer) and to != peer:
                self.clerk.gone(to)
        self._say_due()

    def _fetch_later(self, peer: bytes, user: str, said: Fetch) -> None:
        self.clerk.heard(peer, user)
        if self._guard is not None:
            type_id = self.clerk.holdings.type_of(said.stream)
            if not self._guard.may_read(name_of(user), type_id, said.stream.topic):
                raise AccessError(NOT_READ, said.stream.topic)
        wanted, mine = (said.reader, said.stream), self._fetches_of.get(peer, {})
        if wanted in mine:
            mine[wanted] = (user, said)
            return
        if len(mine) >= self._limits.repairs_each:
            raise AccessError("too many repair requests", f"{len(mine)} wait")
        if len(self._fetches) >= MAX_FETCHES:
            return  # it will ask again
        self._fetches.append((peer, wanted))
        mine[wanted] = (user, said)
        self._fetches_of[peer] = mine
        if len(self._fetches) == 1:
            self._loop.call_soon(self._fetch_next)

    def _fetch_next(self) -> None:
        """Read for one client, then leave the time to those who live, if there are any."""
        if self._closed:
            return
        began = self._loop.time()
        peer, wanted = self._fetches.popleft()
        user, said = self._fetches_of[peer].pop(wanted)
        if not self._fetches_of[peer]:
            del self._fetches_of[peer]
        self._repairs += 1
        try:
            for to, answer in self.clerk.answer(peer, said, user):
                self.say(to, answer)
        except (JournalDamagedError, AccessError) as error:
            self._refuse(peer, user, error)
        if self._fetches:
            rest = REST * (self._loop.time() - began) if self._has_sent else 0.0
            self._has_sent = False
            self._loop.call_later(rest, self._fetch_next)

    def _refuse(self, peer: bytes, user: str, error: WireError | JournalDamagedError | AccessError) -> None:
        match error:
            case AccessError():
                cause = error.cause
            case WireError():
                cause = "control message refused"
            case _:
                cause = "the journal is damaged"
        who = name_of(user)
        self.clerk.refuse(who, cause, error.value if isinstance(error, AccessError) else "")
        self.complaints.say(who or peer.hex(), cause, error=str(error))

    def _say_due(self) -> None:
        """Say to the members of groups what has been decided. One that cannot be told is gone, which decides more."""
        while due := self.clerk.groups.due():
            for member, said in due:
                if not self.say(member.client, said):
                    self.clerk.gone(member.client)

    def _subscribe(self, received: Received) -> None:
        """A reader subscribes or unsubscribes. With XPUB_MANUAL libzmq leaves it to us whether it counts."""
        data, user = received.data, received.user
        if self._doors:
            self._doors[0].said(received.descriptor, user)
        if data[:1] == b"\0":
            if self._audience.remove(received):
                self._frames.option(zmq.UNSUBSCRIBE, data[1:])
            return
        if self._guard is not None and not self._guard.may_subscribe(user, data[1:]):
            self._refuse_subscription(user, NOT_GRANTED, repr(data[1:65]))
            return
        why = self._audience.add(received)
        if why is None:
            self._frames.option(zmq.SUBSCRIBE, data[1:])
        else:
            self._refuse_subscription(user, "subscription refused", why)

    def _refuse_subscription(self, user: str, cause: str, why: str) -> None:
        self.clerk.refuse(name_of(user), cause, why)
        self.complaints.say(name_of(user) or "a reader", cause, error=why)

    # --- time --------------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.tick()
            except Exception:
                log.exception("a tick failed")

    def tick(self) -> None:
        """Say how far the streams reach, and see to the journal."""
        self._say_marks()
        for peer in self.clerk.silent():
            self.clerk.gone(peer)
            self._said.set()
        self.clerk.groups.pass_time()
        self._say_due()
        now = self._time_ns()
        if self.journal.sync_if_due(now):
            self._on_synced()
        self.trim_now()

    def _say_marks(self) -> None:
        dirty, self._dirty = list(self._dirty), {}
        names, self.clerk.new_names = self.clerk.new_names, {}
        while True:
            marks: list[Mark] = [self.clerk.holdings.mark(stream) for stream in dirty[:MAX_TICK_MARKS]]
            self.clerk.groups.advance(marks)
            for listener in self._listeners():
                self._ticks[listener] += 1
                tick = Tick(self.instance, self._ticks[listener], self._for(listener, marks), names)
                self._frames.send(tick_frame(tick, listener))
            dirty, names = dirty[MAX_TICK_MARKS:], {}
            if not dirty:
                break

    def _listeners(self) -> Iterable[str]:
        """Whom the ticks are for: with keys, each service that is there; without, everybody."""
        return ("",) if self._guard is None else sorted({name_of(user) for user in self.clerk.users()})

    def _for(self, listener: str, marks: list[Mark]) -> tuple[Mark, ...]:
        """How far those streams reach that are for a listener."""
        if self._guard is None:
            return tuple(marks)
        may_read = self._guard.may_read
        return tuple(mark for mark in marks if may_read(listener, mark.type_id, mark.stream.topic))

    def trim_now(self) -> None:
        """Remove what retention no longer keeps, counted."""
        if self._closed:
            return
        try:
            trimmed = self.journal.trim(self._time_ns(), limit=TRIM_FRAMES)
        except JournalFullError as error:
            self.complaints.say("the journal", "cannot be trimmed", error=str(error))
            return
        for cause, number in trimmed.messages.items():
            self.expired[cause] = self.expired.get(cause, 0) + number
        if trimmed.more:
            asyncio.get_running_loop().call_soon(self.trim_now)
