"""A process as the client of one store: two sockets, the readers behind them, and what must be said again and again.

A SUB receives the frames and the ticks, a DEALER asks. A reader joins in three steps: it subscribes, it sends a
probe and waits until that comes back among the frames (so its subscription is in force), and it asks where to
begin. Whatever is not answered is said again with the next beat.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
import zmq

from mycelium.core.delivery.control import (
    PROBE_TOPIC,
    Alive,
    AskMarks,
    AskReaders,
    Fetch,
    Fetched,
    FromClient,
    Here,
    Joined,
    Leave,
    Marks,
    Probe,
    Readers,
    Reported,
    Taken,
    Unknown,
    encode,
    from_store,
    probe_frame,
    tick_of,
    tick_topic,
)
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.delivery.reader import Request
from mycelium.core.delivery.sharing import Assign, Revoke
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import PathError, WireError
from mycelium.core.ledger import Tally
from mycelium.core.trace import Tracing
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.complaints import Complaints
from mycelium.transport.curve import client_options, options_of
from mycelium.transport.inlets import Inlet
from mycelium.transport.keyring import Credentials
from mycelium.transport.members import Member
from mycelium.transport.sockets import Port, dealer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("client")

BEAT_SECONDS = 0.25
ALIVE_BEATS = 4
"""Signs of life are given once a second."""

PATIENCE_BEATS = 4
"""Beats without an answer after which a question is asked again."""

ASK_SECONDS = 0.1
"""Between two questions who reads at a store."""

MARKS_SECONDS = 3.0
"""How long a store may take to say how far a leaving reader is to read."""

MAX_FETCHES = 8
"""Requests under way at once. Chosen by us: enough to keep a store busy, few enough to leave it to others."""

SILENT_SECONDS = 5.0
"""A store that has said nothing for so long is down, as far as we can know."""

TURN_SECONDS = 2.0
"""How long a store may be silent before the other one of its two keys is tried."""

MAX_UNBROKEN = 16_384
"""Frames in a row, with more behind them, after which those that wait are thrown away: this process does not keep up,
and what it misses waits better in the store than here. Chosen by us: a second of decoding."""

_MAX_PROBE = 1 << 62


class Client:
    """One store, as this process sees it.

    Args:
        address: where the store is.
        names: the service instances that publish to it from here; asked with every sign of life.
        on_publisher: takes what the store says to publishers.
        credentials: the keys to show, at a store that asks for them.
        on_keys: called with the options of libzmq for keys when connections are to be made anew with them.
        tracing: is told of what was read back; None if nothing is traced.
        time_ns: the time, for that.
    """

    def __init__(
        self,
        address: StoreAddress,
        names: Callable[[], tuple[str, ...]],
        on_publisher: Callable[[Any], None],
        credentials: Credentials | None = None,
        on_keys: Callable[[Mapping[int, int | bytes]], None] = lambda _options: None,
        tracing: Tracing | None = None,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tracing = tracing
        self._time_ns = time_ns
        self._asked: dict[tuple[int, StreamKey], int] = {}
        self._loop = asyncio.get_running_loop()
        self.address = address
        self.instance: int = 0
        """Of the store; 0 while it has not answered."""
        self.source_names: dict[int, str] = {}
        self.refused: Tally = Tally()
        self._complaints = Complaints(lambda: round(self._loop.time() * 1e9))
        self._names = names
        self._on_publisher = on_publisher
        self._inlets: dict[int, Inlet] = {}
        self._by_topic: dict[bytes, tuple[Inlet, ...]] = {}
        self._prefixes: Counter[bytes] = Counter()
        self._tick = 0
        self._beats = 0
        self._heard = self._loop.time()
        self._is_closed = False
        self._probe = 0
        self._probed = False
        self._fetching: dict[tuple[int, StreamKey], int] = {}
        self._readers: frozenset[str] = frozenset()
        self._to_fetch: deque[tuple[Inlet, Request]] = deque()
        self._serials = itertools.count(1)
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._credentials = credentials
        self._on_keys = on_keys
        self._server = "" if credentials is None else credentials.servers[0]
        self._turned = self._heard
        keys = options_of(credentials)
        self._frames = Port(zmq.SUB, self._on_frames, options={zmq.RCVHWM: 0, zmq.SNDHWM: 0, **keys})
        self._control = dealer(self._on_answers, keys)
        self._control.connect(address.control)
        self._tick_topic = tick_topic("" if credentials is None else credentials.name).encode()
        self._frames.option(zmq.SUBSCRIBE, self._tick_topic + b"\0")
        self._beating = self._loop.create_task(self._beat_forever(), name=f"beat {address.name}")
        self.say_alive()

    def use_keys(self, credentials: Credentials) -> None:
        """Show other keys. What is lost with the connections that are made anew is asked for again."""
        before, self._credentials = self._credentials, credentials
        # Another key of the store is no reason to leave a connection that stands.
        if before is None or before.pair != credentials.pair:
            self._connect_anew(credentials)

    def _connect_anew(self, credentials: Credentials) -> None:
        options = client_options(credentials, self._server)
        self._turned = self._loop.time()
        self._control.connect_anew(options)
        self._frames.connect_anew(options)
        self._on_keys(options)
        self._fetching.clear()
        self.say_alive()
        self._send_probe()

    def _try_other_key(self) -> None:
        """While the store's key is being replaced it may have the other one: libzmq does not say why nobody answers."""
        credentials = self._credentials
        if credentials is None or self._loop.time() - max(self._heard, self._turned) < TURN_SECONDS:
            return
        servers = credentials.servers
        following = servers[(servers.index(self._server) + 1) % len(servers)] if self._server in servers else servers[0]
        if following != self._server:
            self._server = following
            self._connect_anew(credentials)

    @property
    def is_up(self) -> bool:
        """Whether the store has been heard of lately."""
        return self.instance != 0 and not self._is_closed and self._loop.time() - self._heard < SILENT_SECONDS

    def say(self, said: FromClient) -> None:
        """Say something to the store. If it is lost, it will be said again."""
        self._control.send(encode(said))

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something that the store says has made ``condition`` true; False if it did not in time."""
        if condition():
            return True
        changed: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((condition, changed))
        try:
            async with asyncio.timeout(seconds):
                await changed
        except TimeoutError:
            return False
        finally:
            self._waiting = [entry for entry in self._waiting if entry[1] is not changed]
        return True

    def _changed(self) -> None:
        for condition, changed in self._waiting:
            if not changed.done() and condition():
                changed.set_result(None)

    async def has_readers(self, names: frozenset[str], seconds: float) -> frozenset[str]:
        """Wait until these readers are at the store; those that have not come in time."""
        end = self._loop.time() + seconds
        while not names <= self._readers and self._loop.time() < end:
            self.say(AskReaders())
            await self.until(lambda: names <= self._readers, min(ASK_SECONDS, seconds))
        return names - self._readers

    # --- readers -----------------------------------------------------------------------------

    def add(self, inlet: Inlet) -> None:
        """A reader joins; :attr:`Inlet.joined` tells when it has."""
        # Not before: a process that only publishes costs the store no such connection.
        self._frames.connect_once(self.address.frames)
        self._inlets[inlet.number] = inlet
        self._by_topic.clear()
        prefix = _prefix(inlet)
        self._prefixes[prefix] += 1
        if self._prefixes[prefix] == 1:
            self._frames.option(zmq.SUBSCRIBE, prefix)
        self._send_probe()

    def ask_marks(self, inlet: Inlet) -> None:
        """A reader is detached: it gets everything up to what the store has now."""
        inlet.detached = next(self._serials)
        self._say_marks(inlet)
        self._loop.call_later(MARKS_SECONDS, lambda: None if inlet.finishing or inlet.ended else self._give_up(inlet))

    def _say_marks(self, inlet: Inlet) -> None:
        self.say(AskMarks(inlet.number, inlet.detached, inlet.interest.contract.type_id, inlet.join.patterns))

    def _give_up(self, inlet: Inlet) -> None:
        log.warning("the store does not answer; a leaving reader takes no more", store=self.address.name)
        inlet.end()

    async def report_last(self, inlet: Inlet, seconds: float) -> bool:
        """Say how far a reader is, and wait until the store has it."""
        self._report(inlet)
        return await self.until(lambda: not inlet.unreported, seconds)

    def remove(self, inlet: Inlet) -> None:
        """A reader is gone."""
        if self._inlets.pop(inlet.number, None) is None:
            return
        self._by_topic.clear()
        for key in [key for key in self._fetching if key[0] == inlet.number]:
            del self._fetching[key]
        prefix = _prefix(inlet)
        self._prefixes[prefix] -= 1
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
            self._frames.option(zmq.UNSUBSCRIBE, prefix)
        self.say(Leave(inlet.number, inlet.join.name))

    def fetch(self, inlet: Inlet, request: Request) -> None:
        """A reader wants frames from the journal."""
        self._to_fetch.append((inlet, request))
        self._fetch_next()

    def _fetch_next(self) -> None:
        while self._to_fetch and len(self._fetching) < MAX_FETCHES:
            inlet, request = self._to_fetch.popleft()
            if inlet.number in self._inlets:
                self._fetching[inlet.number, request.stream] = self._beats
                if self._tracing is not None:
                    self._asked[inlet.number, request.stream] = self._time_ns()
                self.say(Fetch(inlet.number, request.stream, request.sequence, request.credits))

    # --- frames ------------------------------------------------------------------------------

    def _on_frames(self, burst: Sequence[bytes]) -> None:
        if self._frames.unbroken > MAX_UNBROKEN:
            skipped = self._frames.skip(MAX_UNBROKEN)
            self._complaints.say(self.address.name, "too much at once; the rest is read from the store", frames=skipped)
        for frame in burst:
            raw = frame[: frame.find(b"\0")]
            inlets = self._by_topic.get(raw)
            if inlets is None:
                if self._on_system(raw, frame):
                    continue
                inlets = self._route(raw)
            if not inlets:
                continue
            try:
                envelope = decode_frame(frame)
            except WireError as error:
                self.refused.add("frame refused")
                log.warning("frame refused", store=self.address.name, error=str(error), bytes=len(frame))
                continue
            type_id = envelope.type_id
            for inlet in inlets:
                if inlet.interest.contract.type_id == type_id:
                    inlet.on_frame(envelope)

    def _route(self, raw: bytes) -> tuple[Inlet, ...]:
        if len(self._by_topic) > 20_000:
            self._by_topic.clear()
        topic = raw.decode("ascii", "replace")
        inlets = self._by_topic[raw] = tuple(inlet for inlet in self._inlets.values() if inlet.wants(topic))
        return inlets

    def _on_system(self, raw: bytes, frame: bytes) -> bool:
        """Deal with what the store says among the frames; False if it is a frame like any other."""
        if raw == self._tick_topic:
            self._on_tick(frame)
            return True
        if raw.startswith(PROBE_TOPIC.encode()):
            if frame == probe_frame(self._probe) and not self._probed:
                self._probed = True
                self._frames.option(zmq.UNSUBSCRIBE, probe_frame(self._probe))
                self._join_all()
            return True
        return False

    def _on_tick(self, frame: bytes) -> None:
        try:
            tick = tick_of(frame)
        except WireError as error:
            self.refused.add("tick refused")
            log.warning("tick refused", store=self.address.name, error=str(error))
            return
        self._heard = self._loop.time()
        self._is_closed = tick.closing
        self.source_names.update(tick.names)
        missed = tick.number != self._tick + 1
        self._tick = tick.number
        if tick.instance != self.instance:
            self.say_alive()
        elif missed:
            for inlet in self._inlets.values():
                self._say_marks(inlet)
        for inlet in self._inlets.values():
            inlet.on_marks(tick.marks)

    # --- answers -----------------------------------------------------------------------------

    def _on_answers(self, burst: Sequence[bytes]) -> None:
        self._heard = self._loop.time()
        for data in burst:
            try:
                self._on_answer(from_store(data))
            except WireError as error:
                self.refused.add("answer refused")
                log.warning("answer refused", store=self.address.name, error=str(error))
        self._changed()

    def _on_answer(self, said: Any) -> None:
        match said:
            case Here():
                self.source_names.update(said.names)
                if said.instance != self.instance:
                    self._on_new_instance(said.instance)
            case Joined():
                self._on_joined(said)
            case Fetched():
                self._fetching.pop((said.reader, said.stream), None)
                inlet = self._inlets.get(said.reader)
                if inlet is not None:
                    self._on_fetched(inlet, said)
                self._fetch_next()
            case Marks():
                inlet = self._inlets.get(said.reader)
                if inlet is None:
                    return
                if said.serial and said.serial == inlet.detached:
                    inlet.finish(said.marks)
                else:
                    inlet.on_marks(said.marks)
            case Unknown():
                for number in said.readers:
                    self._join_again(number)
            case Reported():
                inlet = self._inlets.get(said.reader)
                if inlet is not None:
                    inlet.on_reported(said.serial)
                    self._say_report(inlet)
            case Assign() | Revoke():
                member = self._inlets.get(said.reader)
                if isinstance(member, Member):
                    member.on_said(said)
                    self._release(member)
            case Readers():
                self._readers = frozenset(said.names)
            case Taken():
                inlet = self._inlets.get(said.reader)
                if inlet is not None:
                    inlet.end()
                    inlet.queue.fail(PathError(said.name, "another reader has taken over this name; it is not shared"))
            case _:
                self._on_publisher(said)

    def _join_again(self, number: int) -> None:
        """The store has forgotten a reader: it was silent for too long."""
        inlet = self._inlets.get(number)
        if inlet is not None:
            inlet.report_all()
            self.say(inlet.join)

    def _on_fetched(self, inlet: Inlet, said: Fetched) -> None:
        began = self._asked.pop((said.reader, said.stream), None)
        envelopes = inlet.on_fetched(said.stream, said.sequence, said.frames, said.mark)
        if self._tracing is not None and began is not None:
            self._tracing.repaired(envelopes, began, inlet.join.name)

    def _on_new_instance(self, instance: int) -> None:
        is_first, self.instance = self.instance == 0, instance
        if not is_first:
            log.info("the store has begun anew", store=self.address.name)
        self._fetching.clear()
        self._to_fetch.clear()
        for inlet in self._inlets.values():
            inlet.report_all()
        self._send_probe()

    def _on_joined(self, said: Joined) -> None:
        self.source_names.update(said.names)
        inlet = self._inlets.get(said.reader)
        if inlet is None:
            return
        inlet.on_joined(said)
        if self.address.publish is None:
            # A bundle's store: what it does not have, its publishers will not send again.
            inlet.abandon_all_but(place.stream for place in said.places)

    # --- what is said again and again --------------------------------------------------------

    def say_alive(self) -> None:
        """Tell the store who publishes here."""
        joined = tuple(number for number, inlet in self._inlets.items() if inlet.joined.is_set())
        self.say(Alive(self._names(), joined))

    def _send_probe(self) -> None:
        """Find out whether the subscriptions are in force; readers join when the probe has come back."""
        if not self._inlets:
            return
        if self._probe and not self._probed:
            self._frames.option(zmq.UNSUBSCRIBE, probe_frame(self._probe))
        self._probe, self._probed = 1 + secrets.randbelow(_MAX_PROBE), False
        self._frames.option(zmq.SUBSCRIBE, probe_frame(self._probe))
        self.say(Probe(self._probe))

    def _join_all(self) -> None:
        for inlet in self._inlets.values():
            if not inlet.joined.is_set() or inlet.join_instance != self.instance:
                inlet.join_instance = self.instance
                self.say(inlet.join)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS if self._probed or not self._inlets else BEAT_SECONDS / 10)
            try:
                self._beat()
            except Exception:
                log.exception("a beat failed", store=self.address.name)

    def _beat(self) -> None:
        if self._inlets and not self._probed:
            self.say(Probe(self._probe))
        self._beats += 1
        if self._beats % ALIVE_BEATS == 0:
            self._try_other_key()
            self.say_alive()
            for inlet in self._inlets.values():
                if self._probed and not inlet.joined.is_set():
                    self.say(inlet.join)
                if inlet.detached and not inlet.finishing:
                    self._say_marks(inlet)
                elif inlet.detached and not inlet.ended and not self.is_up:
                    self._give_up(inlet)
        late = [key for key, since in self._fetching.items() if self._beats - since >= PATIENCE_BEATS]
        if late:
            self._fetching.clear()
            self._asked.clear()
            self._to_fetch.clear()
        if self._beats % PATIENCE_BEATS == 0 and not self._fetching:
            for inlet in self._inlets.values():
                inlet.ask_again()
        for inlet in self._inlets.values():
            self._report(inlet)
            if isinstance(inlet, Member):
                self._release(inlet)

    def _report(self, inlet: Inlet) -> None:
        inlet.take_stock()
        self._say_report(inlet)

    def _say_report(self, inlet: Inlet) -> None:
        """Say how far a reader is, unless the store has yet to answer what was said last: it may have much to do."""
        if inlet.unreported and (not inlet.reported or self._beats - inlet.reported_at >= PATIENCE_BEATS):
            inlet.reported_at = self._beats
            self.say(inlet.report(next(self._serials)))

    def _release(self, member: Member) -> None:
        said = member.released()
        if said is not None:
            self.say(said)

    async def aclose(self) -> None:
        """Say nothing more."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._frames.close()
        self._control.close(linger_ms=200)

    def source_name(self, source: int) -> str:
        """The name of a source, as far as the store has told it."""
        return self.source_names.get(source, f"{source:016x}")


def _prefix(inlet: Inlet) -> bytes:
    """The longer of two prefixes that both must match."""
    return max(inlet.interest.pattern.prefix, inlet.interest.contract.topic.pattern.prefix, key=len)
