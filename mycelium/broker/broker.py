"""The broker's forwarding loop: check, refuse repeats, journal, pass on, confirm. A burst of frames at a time.

Publishers send to an XSUB; what is kept goes through the :class:`~mycelium.transport.store.Store`. Nothing is
confirmed that the journal does not have, as durably as it was told to. While the journal is full, what
comes is thrown away: its publishers have it until it is confirmed, and are asked for it when there is room. It cannot
wait in the socket: libzmq reads no heartbeats then, the connections break, and each new one brings everything anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import structlog
import zmq

from mycelium.broker.pace import Paces
from mycelium.broker.security import Security
from mycelium.broker.zap import Authenticator
from mycelium.core.delivery.admission import Admission, Entrance, Missing
from mycelium.core.delivery.control import Announce, Confirm, GoBack, Introduce, Refuse
from mycelium.core.delivery.frames import Frame, StreamKey, Watermark
from mycelium.core.envelope import Envelope, decode_frame
from mycelium.core.errors import PathError, UsageError, WireError
from mycelium.core.ledger import Tally
from mycelium.core.message import FIRST_RESERVED_TYPE_ID
from mycelium.core.policy import Delivery
from mycelium.core.trace import TracingOfBroker, is_marked
from mycelium.core.unbooked import UNBOOKED
from mycelium.journal import Journal, JournalError, JournalFullError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.binding import bind
from mycelium.transport.curve import server_options
from mycelium.transport.guard import FOREIGN_NAME, Guard, name_of
from mycelium.transport.keyring import fingerprint
from mycelium.transport.limits import DEFAULT_LIMITS, Limits
from mycelium.transport.sockets import ANONYMOUS, Port, Received
from mycelium.transport.store import Store, StoreStatistics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("broker")

PUBLISH_HIGH_WATER = 64
"""Frames that wait for the broker from one publisher."""

FULL_SECONDS = 0.1
"""Until a full journal is tried again."""

SYNC_SECONDS = 0.01
"""Between two looks whether a sync is due, while confirms wait for one. Chosen by us: the default of the interval."""

MAX_PUBLISHED = (1 << 20) + (64 << 10)
"""Bytes of one message at the port for publishers, at a broker with keys: the largest frame and its topic, and some
more, so that a frame that is a little too large can be refused and counted. Above it libzmq ends the connection."""

PACE_SECONDS = 0.01
"""Between two confirms of a service that publishes faster than its rate."""

TOO_FAST = "publish rate"

CONFIRM_SECONDS = 0.001
"""Between what a burst brings and its confirm. Chosen by us: a publisher that is woken for every burst takes the time
of those who wait for the messages; its window holds 50 ms at full speed."""

GO_BACK_NS = 100_000_000
"""The same question to a publisher is not asked again for so long: what it sends is under way."""


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """A broker at one moment. Counts are since its start.

    Args:
        store: what it keeps and who is there.
        accepted: messages kept.
        passed_on: messages of delivery class live.
        duplicates: messages that came again.
        unconfirmed: frames that are kept and not confirmed yet.
        publishing: connections at the port for publishers.
        is_open: whether it is bound and serves.
        is_full: whether its journal has no room, so that publishers wait.
        has_failed: whether its journal cannot be written, so that it ends.
    """

    store: StoreStatistics
    accepted: int
    passed_on: int
    duplicates: int
    unconfirmed: int
    publishing: int
    is_open: bool
    is_full: bool
    has_failed: bool


class Broker:
    """The broker, in the running event loop.

    Args:
        address: where to bind; ``publish`` is needed.
        journal: what to keep frames in. Whoever made it closes it.
        time_ns: the time.
        contracts: the delivery class of each type id that may be published; None for all, reliable.
        names: service instances that are known to publish.
        security: keys and rules; None where everybody in reach may come in and do everything.
        limits: what one peer may ask for.
        traced: takes the traced frames that were kept and passed on; None if nothing is traced.

    Raises:
        PathError: the address has no endpoint for publishers.
    """

    def __init__(
        self,
        address: StoreAddress,
        journal: Journal,
        time_ns: Callable[[], int],
        *,
        contracts: Mapping[int, Delivery] | None = None,
        names: Collection[str] = (),
        security: Security | None = None,
        limits: Limits = DEFAULT_LIMITS,
        traced: TracingOfBroker | None = None,
    ) -> None:
        self._traced = traced
        # Of this burst.
        self._traced_frames: list[Envelope] = []
        if address.publish is None:
            raise PathError(address.name, "a broker needs an endpoint for publishers")
        self._endpoint = address.publish
        self._journal = journal
        self._time_ns = time_ns
        self._contracts = contracts
        self._guard = Guard(security.access, security.users.values()) if security is not None else None
        keys = server_options(security.pair) if security is not None else {}
        self._pair = security.pair if security is not None else None
        self.store: Store = Store(
            address,
            journal,
            time_ns,
            names=names,
            on_said=self._on_said,
            on_synced=self._confirm_synced,
            guard=self._guard,
            keys=keys,
            limits=limits,
        )
        self._authenticator = (
            Authenticator(security.users, self.store.refuse_connection) if security is not None else None
        )
        self.accepted: int = 0
        """Messages kept since the start."""
        self.passed_on: int = 0
        """Messages of delivery class live."""
        self.duplicates: int = 0
        """Messages that came again."""
        self.refused: Tally = self.store.clerk.refused
        """By cause."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error after which the broker can only be ended: its journal cannot be written."""
        self.is_full: bool = False
        """Whether the journal has no room, so that publishers wait."""
        self.is_open: bool = False
        """Whether it is bound and serves."""
        self._admission = Admission(Watermark(extent.stream, extent.first, extent.last) for extent in journal.streams())
        # What is kept and not yet as durable as promised: position in the journal, stream, last message, how many.
        self._unsynced: deque[tuple[int, StreamKey, int, int]] = deque()
        self._to_confirm: dict[StreamKey, int] = {}
        self._asked_back: dict[StreamKey, tuple[int, int]] = {}
        # While the journal is full: of each source that has sent something, one stream. What it has sent on others it
        # sends again soon after, by itself.
        self._thrown_away: dict[int, StreamKey] = {}
        self._held: tuple[list[Frame], list[int]] = ([], [])
        self._loop = asyncio.get_running_loop()
        self._port = (
            Port(
                zmq.XSUB,
                self._on_attributed,
                options={zmq.RCVHWM: PUBLISH_HIGH_WATER, zmq.MAXMSGSIZE: MAX_PUBLISHED, **keys},
                attributed=True,
            )
            if self._guard is not None
            else Port(
                zmq.XSUB,
                lambda burst: self._on_frames(zip(burst, repeat(ANONYMOUS))),
                options={zmq.RCVHWM: PUBLISH_HIGH_WATER},
            )
        )
        self._door = self.store.door(self._port)
        # Without keys nobody knows whose rate it would be.
        self._paces = Paces(limits.messages_per_second if security is not None else None, self._loop.time)
        self._pacing: asyncio.TimerHandle | None = None
        self._trying: asyncio.TimerHandle | None = None
        self._syncing: asyncio.TimerHandle | None = None
        self._confirming: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Bind, and serve from now on.

        Raises:
            PathError: an endpoint is taken.
        """
        if self._authenticator is not None:
            self._authenticator.open()  # first: until it answers, libzmq lets nobody in
        self.store.open()
        bind(self._port, self._endpoint)
        self._port.send(b"\x01")  # everything that anyone publishes
        self.is_open = True

    def renew(self, security: Security, contracts: Mapping[int, Delivery]) -> None:
        """Go by other rules and keys from now on. Who may still be here does not notice.

        Args:
            security: the rules and keys.
            contracts: the delivery class of each type id, of which those that were there are as before.

        Raises:
            UsageError: the broker has begun without keys.
        """
        if self._guard is None or self._authenticator is None:
            raise UsageError("a broker that has begun without keys cannot take some up: restart it")
        self._contracts = contracts
        self._authenticator.users = security.users
        gone = self._guard.renew(security.access, security.users.values())
        self.store.renewed(gone)
        self._door.cut_all(gone)
        for user in sorted(gone):
            log.info("a key is not accepted any more", user=user)
        if security.pair != self._pair:
            keys = server_options(security.pair)
            self.store.use_keys(keys)
            self._port.bind_anew(keys)
            self._pair = security.pair
            log.info("the broker has another key", key=fingerprint(security.pair.public))

    def statistics(self) -> BrokerStatistics:
        """What it has and has done so far."""
        return BrokerStatistics(
            store=self.store.statistics(),
            accepted=self.accepted,
            passed_on=self.passed_on,
            duplicates=self.duplicates,
            unconfirmed=len(self._unsynced),
            publishing=len(self._door),
            is_open=self.is_open,
            is_full=self.is_full,
            has_failed=self._has_failed,
        )

    async def aclose(self) -> None:
        """Stop serving. What has come is kept, and confirmed if that is still heard."""
        self.is_open = False
        for timer in (self._trying, self._syncing, self._confirming, self._pacing):
            if timer is not None:
                timer.cancel()
        self._port.close()
        if self._authenticator is not None:
            self._authenticator.close()
        if not self.failed.done():
            self.failed.cancel()
            self._journal.sync()
            self._confirm_synced()
            self._confirm()
        await self.store.aclose(linger_ms=500)

    # --- frames ------------------------------------------------------------------------------

    def _on_attributed(self, burst: list[Received]) -> None:
        for received in burst:
            self._door.said(received.descriptor, received.user)
        self._on_frames((received.data, received.user) for received in burst)

    def _on_frames(self, burst: Iterable[tuple[bytes, str]]) -> None:
        if self._has_failed:
            return
        frames: list[Frame] = []
        type_ids: list[int] = []
        began = self._time_ns() if self._traced is not None else 0
        for data, user in burst:
            try:
                envelope = decode_frame(data)
            except WireError as error:
                self.store.clerk.refuse(name_of(user), "frame refused")
                who = name_of(user) or "a publisher"
                self.store.complaints.say(who, "frame refused", error=str(error), bytes=len(data))
                continue
            if self._may_come(envelope, user) and not self._pass_on(envelope, data):
                self._admit(envelope, data, user, frames, type_ids)
        self._keep(frames, type_ids)
        if self._traced is not None and self._traced_frames:
            self._traced(self._traced_frames, began, self._time_ns())
            self._traced_frames = []

    def _may_come(self, envelope: Envelope, user: str) -> bool:
        if self._guard is not None:
            cause = self._guard.why_not_publish(user, envelope.source, envelope.type_id, envelope.topic)
            if cause is not None:
                self._refuse(envelope, cause, user)
                return False
        elif (
            self._contracts is not None
            and envelope.type_id not in self._contracts
            and envelope.type_id < FIRST_RESERVED_TYPE_ID
        ):
            self._refuse(envelope, "unknown type id", user)
            return False
        if self._paces.refuses(envelope.source, envelope.count, is_kept=not self._is_live(envelope)):
            self._refuse(envelope, TOO_FAST, user)
            return False
        return True

    def _is_live(self, envelope: Envelope) -> bool:
        if envelope.type_id in UNBOOKED:
            return True  # whatever its contracts are: nobody declares these
        return self._contracts is not None and self._contracts.get(envelope.type_id) is Delivery.LIVE

    def _pass_on(self, envelope: Envelope, data: bytes) -> bool:
        """Send a frame of delivery class live on; False if it is none."""
        if not self._is_live(envelope):
            return False
        self.store.pass_on(data)
        if envelope.type_id not in UNBOOKED:
            self.passed_on += envelope.count
        self._note_traced(envelope)
        return True

    def _note_traced(self, envelope: Envelope) -> None:
        if self._traced is not None and is_marked(envelope):
            self._traced_frames.append(envelope)

    def _admit(self, envelope: Envelope, data: bytes, user: str, frames: list[Frame], type_ids: list[int]) -> None:
        stream = StreamKey(envelope.source, envelope.epoch, envelope.topic)
        frame = Frame(stream, envelope.sequence, envelope.count, data)
        match self._admission.judge(frame):
            case Entrance.ACCEPT | Entrance.UNKNOWN | Missing() if self.is_full:
                self._thrown_away[stream.source] = stream
            case Entrance.ACCEPT:
                self._admission.accepted(frame)
                frames.append(frame)
                type_ids.append(envelope.type_id)
                self._note_traced(envelope)
            case Entrance.DUPLICATE:
                self.duplicates += frame.count
                # Confirmed once more, with what else waits to be durable; not with what this burst has brought, which
                # the journal may yet refuse.
                last = self._journal.last_sequence(stream)
                self._unsynced.append((self._journal.last_position, stream, last, 0))
            case Entrance.UNKNOWN:
                self._ask_back(stream, 0)
            case Missing(expected=expected):
                self._ask_back(stream, expected)
            case verdict:
                self._refuse(envelope, str(verdict.value), user)

    def _ask_back(self, stream: StreamKey, sequence: int) -> None:
        now = self._time_ns()
        asked, when = self._asked_back.get(stream, (-1, 0))
        if asked == sequence and now - when < GO_BACK_NS:
            return
        if len(self._asked_back) > 10_000:
            self._asked_back.clear()
        self._asked_back[stream] = (sequence, now)
        self._tell(stream, GoBack(stream, sequence) if sequence else Introduce(stream))

    def _refuse(self, envelope: Envelope, cause: str, user: str) -> None:
        stream = StreamKey(envelope.source, envelope.epoch, envelope.topic)
        what = f"{stream.topic} of type id {envelope.type_id}"
        self.store.clerk.refuse(name_of(user), cause, what, envelope.count)
        claimed = self.store.clerk.names.get(stream.source, f"{stream.source:016x}")
        self.store.complaints.say(
            name_of(user) or claimed, cause, topic=stream.topic, type_id=envelope.type_id, source=claimed
        )
        # The source is what the sender claims: with keys, only whose it is may hear that its messages are lost.
        if cause not in (FOREIGN_NAME, TOO_FAST):
            self._tell(stream, Refuse(stream, envelope.sequence, envelope.count, cause))

    def _tell(self, stream: StreamKey, said: Any) -> None:
        peer = self.store.clerk.sources.get(stream.source)
        if peer is not None and not self.store.say(peer, said):
            self.store.clerk.gone(peer)

    # --- journal and confirms ----------------------------------------------------------------

    def _keep(self, frames: list[Frame], type_ids: list[int]) -> None:
        try:
            self._keep_what_fits(frames, type_ids)
        except JournalError as error:
            self._fail(error)
            return
        self._confirm_synced()

    def _keep_what_fits(self, frames: list[Frame], type_ids: list[int]) -> None:
        """Keep what there is room for, and hold the rest."""
        start, size, trimmed = 0, len(frames), False
        while start < len(frames):
            some = frames[start : start + size]
            try:
                self.store.keep(some, type_ids[start : start + size])
            except JournalFullError as error:
                if not trimmed:
                    self.store.trim_now()
                    trimmed = True
                elif size > 1:
                    size //= 2  # a burst may be more than the journal has room for at all
                else:
                    self._hold(frames[start:], type_ids[start:], error)
                    break
                continue
            self._note_kept(some)
            start, trimmed = start + size, False

    def _note_kept(self, frames: list[Frame]) -> None:
        position = self._journal.last_position
        for frame in frames:
            self.accepted += frame.count
            self._unsynced.append((position, frame.stream, frame.last, frame.count))

    def _fail(self, error: JournalError) -> None:
        """The disk does not do what it is for. What this broker would say from now on could not be relied on."""
        if not self.failed.done():
            self.failed.set_exception(error)

    @property
    def _has_failed(self) -> bool:
        return self.failed.done() and not self.failed.cancelled()

    def _hold(self, frames: list[Frame], type_ids: list[int], error: JournalFullError) -> None:
        """There is no room: take nothing more until there is."""
        if not self.is_full:
            log.error("publishers wait: the journal is full", error=str(error))
        self.is_full = True
        self._held = (frames, type_ids)
        self._trying = asyncio.get_running_loop().call_later(FULL_SECONDS, self._try_again)

    def _try_again(self) -> None:
        held, self._held = self._held, ([], [])
        self._keep(*held)
        if self._held[0] or self._has_failed:
            return
        log.info("there is room in the journal again")
        self.is_full = False
        thrown_away, self._thrown_away = self._thrown_away, {}
        for stream in thrown_away.values():
            last = self._admission.last(stream)
            self._ask_back(stream, last + 1 if last else 0)

    def _confirm_synced(self) -> None:
        if self._has_failed:
            return
        synced = self._journal.synced_position
        while self._unsynced and self._unsynced[0][0] <= synced:
            _, stream, last, count = self._unsynced.popleft()
            if not self._paces.hold(stream, last, count):
                self._to_confirm[stream] = last
        if self._paces.are_waiting:
            self._to_confirm.update(self._paces.due())
            if self._pacing is None:
                self._pacing = self._loop.call_later(PACE_SECONDS, self._pace_on)
        if self._to_confirm and self._confirming is None:
            self._confirming = asyncio.get_running_loop().call_later(CONFIRM_SECONDS, self._confirm)
        if self._unsynced and self._syncing is None:
            self._syncing = asyncio.get_running_loop().call_later(SYNC_SECONDS, self._sync_if_due)

    def _pace_on(self) -> None:
        self._pacing = None
        self._confirm_synced()

    def _sync_if_due(self) -> None:
        self._syncing = None
        try:
            self._journal.sync_if_due(self._time_ns())
        except JournalError as error:
            self._fail(error)
        self._confirm_synced()

    def _confirm(self) -> None:
        """Tell every publisher what is kept of its streams."""
        self._confirming = None
        by_peer: dict[bytes, list[tuple[StreamKey, int]]] = {}
        for stream, last in self._to_confirm.items():
            peer = self.store.clerk.sources.get(stream.source)
            if peer is not None:
                by_peer.setdefault(peer, []).append((stream, last))
        self._to_confirm.clear()
        for peer, marks in by_peer.items():
            if not self.store.say(peer, Confirm(tuple(marks))):
                self.store.clerk.gone(peer)

    def _on_said(self, peer: bytes, said: Any) -> bool:
        if not isinstance(said, Announce):
            return False
        self.store.clerk.sources.setdefault(said.stream.source, peer)
        self._admission.announce(said.stream, said.wanted, said.base)
        return True
