"""A store: keeps frames in its journal, sends them to whoever has subscribed, and answers its clients.

The broker is one; over ipc every bundle is one for what it publishes itself. Two sockets: an XPUB for the frames
and the ticks, a ROUTER for everything that is asked (:mod:`mycelium.core.delivery.control`).

The XPUB drops what a slow reader has no room for. That is meant: one stalled reader must not stop the others,
and what it missed it reads from the journal.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

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
from mycelium.core.errors import PathError, WireError
from mycelium.core.topics import MAX_TOPIC_BYTES
from mycelium.journal import Entry, Journal, JournalDamagedError, JournalFullError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.clerk import Clerk
from mycelium.transport.complaints import Complaints
from mycelium.transport.sockets import Port

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("store")

TICK_SECONDS = 0.25
"""Between two ticks: how long a lost last frame of a stream stays unnoticed. Chosen by us."""

FRAMES_HIGH_WATER = 512
"""Frames that wait for one reader before it is left to read from the journal."""

ANSWERS_HIGH_WATER = 64
"""Answers that wait for one client: one that asks and does not read costs 16 MB at most."""

MAX_SUBSCRIPTIONS = 500_000
"""Prefixes that are subscribed to, all readers together. Chosen by us: 200 readers with 2,500 each, 50 MB."""

MAX_TICK_MARKS = 5_000

MAX_FETCHES = 10_000
"""Requests that wait to be answered."""

REST = 3
"""While others publish, answering repairs takes a quarter of the time at most. Measured with ``benchmarks.catch_up``,
see ADR 0013."""

TRIM_FRAMES = 500
"""Removed in one go: some 4 ms in which nothing else is done."""

IPC_MODE = 0o660


class Store:
    """One store, in the running event loop.

    Args:
        address: where to bind.
        journal: what to keep frames in. Whoever made it closes it.
        time_ns: the time.
        names: service instances that are known to publish here.
        on_said: takes what clients say that is not for the store: ``(peer, said)``; True if it was dealt with.
        on_synced: called when the journal may have become more durable.
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
    ) -> None:
        self.address = address
        self.journal = journal
        self.instance: int = time_ns()
        self.clerk: Clerk = Clerk(journal, self.instance, time_ns, names)
        self.complaints: Complaints = Complaints(time_ns)
        self.subscriptions: int = 0
        """Prefixes that are subscribed to, by all readers together."""
        self._prefixes: Counter[bytes] = Counter()
        self._time_ns = time_ns
        self._on_said = on_said
        self._on_synced = on_synced
        self.expired: dict[str, int] = {}
        """Messages that retention has removed, by cause."""
        self._dirty: dict[StreamKey, None] = {}
        self._ticks = 0
        self._closed = False
        self._frames = Port(
            zmq.XPUB,
            lambda _burst: None,
            on_each=self._subscribe,
            options={zmq.XPUB_MANUAL: 1, zmq.SNDHWM: FRAMES_HIGH_WATER},
        )
        self._control = Port(
            zmq.ROUTER,
            self._on_requests,
            options={zmq.ROUTER_MANDATORY: 1, zmq.ROUTER_HANDOVER: 1, zmq.SNDHWM: ANSWERS_HIGH_WATER},
        )
        self._loop = asyncio.get_running_loop()
        self._fetches: deque[tuple[bytes, Fetch]] = deque()
        self._has_sent = False
        """Whether frames have left since a repair was answered last: somebody lives."""
        self._held: list[IO[bytes]] = []
        self._ticking: asyncio.Task[None] | None = None
        self._said = asyncio.Event()

    def open(self) -> None:
        """Bind, and answer from now on.

        Raises:
            PathError: an endpoint is taken.
        """
        try:
            for port, endpoint in ((self._frames, self.address.frames), (self._control, self.address.control)):
                held = bind(port, endpoint)
                if held is not None:
                    self._held.append(held)
        except PathError:
            self._let_go(linger_ms=0)
            raise
        self._ticking = asyncio.get_running_loop().create_task(self._tick_forever(), name="store ticks")

    async def aclose(self, *, linger_ms: int = 0) -> None:
        """Stop answering; for ``linger_ms`` libzmq goes on sending what it has."""
        if self._closed:
            return
        self._closed = True
        self._frames.send(tick_frame(Tick(self.instance, self._ticks + 1, (), {}, closing=True)))
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

    def _on_requests(self, burst: Iterable[list[bytes]]) -> None:
        for parts in burst:
            peer = parts[0]
            try:
                if len(parts) != 2:
                    raise WireError(f"a message of {len(parts) - 1} parts, expected 1")
                self._on_request(peer, parts[1])
            except (WireError, JournalDamagedError) as error:
                self._refuse(peer, error)

    def _on_request(self, peer: bytes, data: bytes) -> None:
        said = from_client(data)
        if isinstance(said, Probe):
            self.clerk.heard(peer)
            self._frames.send(probe_frame(said.number))
            return
        if self._on_said(peer, said):
            self.clerk.heard(peer)
            return
        if isinstance(said, Fetch):
            self._fetch_later(peer, said)
            return
        answers = self.clerk.answer(peer, said)
        self._said.set()
        for to, answer in answers:
            if not self.say(to, answer) and to != peer:
                self.clerk.gone(to)
        self._say_due()

    def _fetch_later(self, peer: bytes, said: Fetch) -> None:
        self.clerk.heard(peer)
        if len(self._fetches) >= MAX_FETCHES:
            return  # it will ask again
        self._fetches.append((peer, said))
        if len(self._fetches) == 1:
            self._loop.call_soon(self._fetch_next)

    def _fetch_next(self) -> None:
        """Read for one client, then leave the time to those who live, if there are any."""
        if self._closed:
            return
        began = self._loop.time()
        peer, said = self._fetches.popleft()
        try:
            for to, answer in self.clerk.answer(peer, said):
                self.say(to, answer)
        except JournalDamagedError as error:
            self._refuse(peer, error)
        if self._fetches:
            rest = REST * (self._loop.time() - began) if self._has_sent else 0.0
            self._has_sent = False
            self._loop.call_later(rest, self._fetch_next)

    def _refuse(self, peer: bytes, error: WireError | JournalDamagedError) -> None:
        cause = "control message refused" if isinstance(error, WireError) else "the journal is damaged"
        self.clerk.refused.add(cause)
        self.complaints.say(peer.hex(), cause, error=str(error))

    def _say_due(self) -> None:
        """Say to the members of groups what has been decided. One that cannot be told is gone, which decides more."""
        while due := self.clerk.groups.due():
            for member, said in due:
                if not self.say(member.client, said):
                    self.clerk.gone(member.client)

    def _subscribe(self, message: bytes) -> None:
        """A reader subscribes or unsubscribes. With XPUB_MANUAL libzmq leaves it to us whether it counts."""
        if not message or message[0] > 1 or len(message) > MAX_TOPIC_BYTES + 2:
            self._refuse_subscription(f"{len(message)} bytes are no subscription")
        elif message[0] == 0:
            self._unsubscribe(message[1:])
        elif self.subscriptions >= MAX_SUBSCRIPTIONS:
            self._refuse_subscription(f"there are {self.subscriptions}, and no more are accepted")
        else:
            self.subscriptions += 1
            self._prefixes[message[1:]] += 1
            self._frames.option(zmq.SUBSCRIBE, message[1:])

    def _unsubscribe(self, prefix: bytes) -> None:
        """Also when a connection breaks: libzmq says it then, once for each prefix."""
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
            return  # it was refused, or never asked for
        self.subscriptions -= 1
        self._prefixes[prefix] -= 1
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
        self._frames.option(zmq.UNSUBSCRIBE, prefix)

    def _refuse_subscription(self, why: str) -> None:
        self.clerk.refused.add("subscription refused")
        self.complaints.say("a reader", "subscription refused", error=why)

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
        dirty, self._dirty = list(self._dirty), {}
        names, self.clerk.new_names = self.clerk.new_names, {}
        while True:
            marks: list[Mark] = [self.clerk.holdings.mark(stream) for stream in dirty[:MAX_TICK_MARKS]]
            self.clerk.groups.advance(marks)
            self._ticks += 1
            self._frames.send(tick_frame(Tick(self.instance, self._ticks, tuple(marks), names)))
            dirty, names = dirty[MAX_TICK_MARKS:], {}
            if not dirty:
                break
        for peer in self.clerk.silent():
            self.clerk.gone(peer)
            self._said.set()
        self.clerk.groups.pass_time()
        self._say_due()
        now = self._time_ns()
        if self.journal.sync_if_due(now):
            self._on_synced()
        self.trim_now()

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


def bind(port: Port, endpoint: str) -> IO[bytes] | None:
    """Bind a port; over ipc its directory is made, and others in its group may connect.

    Returns:
        Over ipc, what holds the endpoint: libzmq would take it from another process without a word. Close it last.

    Raises:
        PathError: the endpoint is taken, or its directory cannot be made.
    """
    if not endpoint.startswith("ipc://"):
        port.bind(endpoint)
        return None
    path = Path(endpoint.removeprefix("ipc://"))
    try:
        path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
    except OSError as error:
        raise PathError(endpoint, f"its directory cannot be made: {error.strerror}") from None
    held = path.with_name(path.name + ".lock").open("wb")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        port.bind(endpoint)
        path.chmod(IPC_MODE)
    except BlockingIOError:
        held.close()
        raise PathError(endpoint, "another process is bound there: does this bundle run already?") from None
    except BaseException:
        held.close()
        raise
    return held
