"""Where streams and subscriptions of one event loop meet, and the network that joins the loops of a process.

Every event loop has one :class:`Exchange`. In one loop a stream's sinks are the routes of its readers.
When a :class:`Network` spans several threads, an exchange also keeps what the other loops want, and
gives a stream a :class:`~mycelium.transport.links.LinkSink` towards each loop that reads it.

Who may touch what. A stream and its sinks belong to the loop that publishes, a queue and the counters
of its routes to the loop that reads. The loops ask one another with ``call_soon_threadsafe``; the lock
of the network guards only its two lists and the tables of inbound routes, and is never held while
waiting. A subscription is attached in the publishing thread, between two publishes, so that the point
where it joins is exact.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import structlog

from mycelium.core.envelope import source_id
from mycelium.core.errors import ConfigError, ContractError, PathError, Problem, UsageError
from mycelium.core.ledger import Ledger, RouteEntry
from mycelium.core.message import Contract, Message, PayloadCodec
from mycelium.core.trace import Tracing
from mycelium.core.unbooked import UNBOOKED
from mycelium.transport.addresses import Fabric
from mycelium.transport.links import Inbound, Link, LinkSink, ThreadLink
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.remote import PLAIN, Reading, Remote, entries
from mycelium.transport.sockets import HIGH_WATER_MARK, FrameReceiver, FrameSender, shared_context
from mycelium.transport.streams import Route, Stream, StreamId
from mycelium.transport.subscriptions import Interest, Reader, RouteKey, Subscription, Wishes

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# How long another thread's event loop may take to answer. Chosen by us: a loop that is blocked for
# this long could not be called running.
ANSWER_TIMEOUT = 10.0


class Network:
    """The event loops of one process that hear one another. Safe to use from every thread.

    Create one and hand it to every bus that should be connected. A bus without one is alone.

    Args:
        high_water_mark: frames that libzmq holds on each side of a pair of threads.
        fabric: where the other processes are. Then the network has one event loop only.
        time_ns: the time, for stores.
        tracing: decides which messages are traced; None if none is.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        *,
        high_water_mark: int = HIGH_WATER_MARK,
        fabric: Fabric | None = None,
        time_ns: Callable[[], int] = time.time_ns,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing
        self.high_water_mark = high_water_mark
        self.fabric = fabric
        self.time_ns = time_ns
        self.lock: threading.Lock = threading.Lock()
        self._number = next(self._numbers)
        self._exchanges: list[Exchange] = []
        self._subscriptions: list[Subscription] = []
        self._ended: list[Ledger] = []
        self._epochs: dict[str, int] = {}

    def next_epoch(self, source_name: str, now: int) -> int:
        """The epoch of a new incarnation of a source: ``now`` in ns, or more if the clock has not moved on."""
        with self.lock:
            epoch = max(now, self._epochs.get(source_name, -1) + 1)
            self._epochs[source_name] = epoch
        return epoch

    def exchange(self) -> Exchange:
        """The exchange of the running event loop, made if this is its first use."""
        loop = asyncio.get_running_loop()
        with self.lock:
            for known in self._exchanges:
                if known.loop is loop:
                    return known
            if self.fabric is not None and self._exchanges:
                raise UsageError("a network that reaches other processes has one event loop; give the other its own")
            made = Exchange(self, loop, f"inproc://mycelium-{self._number}-{len(self._exchanges) + len(self._ended)}")
            self._exchanges.append(made)
            wanted = list(self._subscriptions)
        for subscription in wanted:
            made.admit(subscription)
        return made

    def _others(self, exchange: Reader) -> list[Exchange]:
        """The exchanges of the other event loops. Asked with the lock held."""
        return [other for other in self._exchanges if other is not exchange]

    def enlist(self, subscription: Subscription) -> list[Exchange]:
        """Make a subscription known to loops that join later; the answer are those that are here now."""
        with self.lock:
            self._subscriptions.append(subscription)
            return self._others(subscription.reader)

    def delist(self, subscription: Subscription) -> list[Exchange]:
        """Take :meth:`enlist` back."""
        with self.lock:
            self._subscriptions.remove(subscription)
            return self._others(subscription.reader)

    def left(self, exchange: Exchange) -> None:
        """An exchange was closed; its books are kept."""
        with self.lock:
            self._exchanges.remove(exchange)
            self._ended.append(exchange.ledger())

    def renew_keys(self) -> None:
        """Show other keys to the stores from now on, where there are others. In the event loop that reaches them.

        Raises:
            ConfigError: they cannot be read.
        """
        with self.lock:
            exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.renew_keys()  # there is one at most where there are other processes

    def ledger(self) -> Ledger:
        """The books of all event loops, also of those that have ended."""
        with self.lock:
            parts = [*self._ended, *(exchange.ledger() for exchange in self._exchanges)]
        return sum(parts, Ledger())


class Exchange:
    """Streams and subscriptions of one event loop. Made by :meth:`Network.exchange`."""

    def __init__(self, network: Network, loop: asyncio.AbstractEventLoop, endpoint: str) -> None:
        self.network = network
        self.loop = loop
        self.endpoint = endpoint
        self._streams: list[Stream] = []
        self._contracts: dict[StreamId, Contract] = {}
        self._local = Wishes()
        self._wanted = Wishes()
        self._links: dict[Reader, Link] = {}
        self._link_sinks: dict[tuple[Stream, Reader], LinkSink] = {}
        self._codecs: dict[type[Message], PayloadCodec[Any]] = {}
        self._subscriptions: list[Subscription] = []
        self._closed_routes: dict[tuple[StreamId, str], RouteEntry] = {}
        self.inbound_routes: dict[RouteKey, tuple[Route, ...]] = {}
        self._inbound = Inbound(self._find_inbound, self._codec, self._check_arrived)
        self._detached: list[Subscription] = []
        self._receiver: FrameReceiver | None = None
        self._users = 0
        # By service instance where stores ask for keys, else one for all.
        self._remotes: dict[str, Remote] = {}
        self._own_epochs: set[tuple[int, int]] = set()
        if network.fabric is not None and network.fabric.keys is None:
            self._add_remote(network.fabric, "")

    def _add_remote(self, fabric: Fabric, name: str) -> None:
        self._remotes[name] = Remote(
            fabric, self.network.time_ns, self._codec, self._own_epochs, name, self.network.tracing
        )

    def _remote(self, name: str) -> Remote | None:
        """How a service instance reaches other processes; None if there are none."""
        return self._remotes.get(name) or self._remotes.get("")

    # --- streams -----------------------------------------------------------------------------

    def open_stream(self, stream_id: StreamId, contract: Contract) -> Stream:
        """A new stream, wired to everyone who wants it.

        Raises:
            ContractError: its publisher uses the topic for another contract. A topic's messages have one numbering.
        """
        known = self._contracts.setdefault(stream_id, contract)
        if known is not contract:
            raise ContractError(
                f"{stream_id.source_name} publishes {known.name} on {stream_id.topic}; "
                f"{contract.name} needs another topic, or another publisher"
            )
        # What the fabric says of itself is no part of anybody's story.
        tracing = None if contract.type_id in UNBOOKED else self.network.tracing
        stream = Stream(stream_id, contract, tracing)
        self._streams.append(stream)
        for wish in self._local.match(stream):
            self._wire_local(stream, *wish)
        for wish in self._wanted.match(stream):
            self._wire_remote(stream, *wish)
        remote = self._remote(stream_id.source_name)
        if remote is not None:
            stream.add_sink(remote.sink(stream))
        return stream

    def _wire_local(self, stream: Stream, subscription: Subscription, interest: Interest) -> None:
        route = Route(stream, subscription.queue, stream.sequence, interest.name)
        subscription.routes.append(route)
        stream.add_sink(route)

    def _wire_remote(self, stream: Stream, subscription: Subscription, interest: Interest) -> None:
        reader = subscription.reader
        sink = self._link_sinks.get((stream, reader))
        if sink is None:
            link = self._links.get(reader)
            if link is None:
                link = self._links[reader] = self._connect(reader)
            sink = self._link_sinks[stream, reader] = LinkSink(link, stream, self._codec(stream.contract.message_type))
            stream.add_sink(sink)
        # What was numbered but has not left yet will come to the new route too, which takes it for a repeat.
        route = Route(stream, subscription.queue, stream.sequence, interest.name)
        route.holes_from = sink.holes_from
        key = (source_id(stream.id.source_name), stream.id.epoch, stream.id.topic, stream.contract.type_id)
        with self.network.lock:
            subscription.routes.append(route)
            reader.inbound_routes[key] = (*reader.inbound_routes.get(key, ()), route)

    def _connect(self, reader: Reader) -> Link:
        reader.loop.call_soon_threadsafe(reader.listen)
        context = shared_context()

        def sender(on_room: Callable[[], None]) -> FrameSender:
            return FrameSender(context, reader.endpoint, on_room, self.network.high_water_mark)

        return ThreadLink(sender)

    def _codec(self, message_type: type[Message]) -> PayloadCodec[Any]:
        codec = self._codecs.get(message_type)
        if codec is None:
            codec = self._codecs[message_type] = PayloadCodec(message_type)
        return codec

    async def flushed(self) -> None:
        """Return when all that was published here has left for its readers in this process, and is kept by a store."""
        for link in list(self._links.values()):
            await link.flushed()
        for remote in list(self._remotes.values()):
            await remote.flushed()

    # --- subscriptions -----------------------------------------------------------------------

    async def attach(
        self, name: str, interests: Iterable[Interest], queue: BoundedQueue, reading: Reading = PLAIN
    ) -> Subscription:
        """Wire a queue to every stream it wants, in this loop, the others, and the stores. Returns when it is wired.

        Args:
            name: of the service instance that reads.
            interests: what it wants.
            queue: where to.
            reading: how, from stores.

        Raises:
            PathError: another thread's event loop does not answer.
        """
        subscription = Subscription(self, tuple(interests), queue)
        self._subscriptions.append(subscription)
        remote = subscription.remote = self._remote(name)
        if remote is not None:
            subscription.inlets = remote.inlets(subscription.interests, queue, reading, self._check_arrived)
            await remote.joined(subscription.inlets)
            if not reading.is_plain:
                return subscription
        self._local.add(subscription)
        for stream, interest in itertools.product(self._streams, subscription.interests):
            if interest.wants(stream):
                self._wire_local(stream, subscription, interest)
        peers = self.network.enlist(subscription)
        if peers:
            self.listen()
        await _ask(peers, lambda peer: peer.admit(subscription))
        return subscription

    async def detach(self, subscription: Subscription, *, at_once: bool = False) -> None:
        """Stop what comes to a queue; its reader ends when it has read all that was published before.

        Args:
            subscription: which.
            at_once: leave with the stores what has not come in yet.
        """
        if subscription in self._local:
            self._local.remove(subscription)
            for route in subscription.routes:
                if route.holes_from is None:
                    route.leave()
                    route.stream.remove_sink(route)
            await _ask(self.network.delist(subscription), lambda peer: peer.dismiss(subscription))
        if subscription.remote is not None:
            if at_once:
                await subscription.remote.leave(subscription.inlets)
            else:
                subscription.remote.detach(subscription.inlets)
        self._detached.append(subscription)
        if not self._inbound.is_busy:
            self._check_arrived()

    def _check_arrived(self) -> None:
        for subscription in self._detached[:]:
            if subscription.has_arrived:
                self._detached.remove(subscription)
                subscription.arrived.set()
                subscription.queue.end()

    async def settle(self, subscription: Subscription) -> None:
        """The reader of a detached subscription is done: drop what it left, keep its books, forget the rest."""
        if subscription.remote is not None:
            await subscription.remote.leave(subscription.inlets)
        subscription.queue.close()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await subscription.arrived.wait()
        except TimeoutError:
            log.error("messages did not arrive", subscription=subscription.queue.name, seconds=ANSWER_TIMEOUT)
        subscription.queue.discard()
        self._subscriptions.remove(subscription)
        with self.network.lock:
            for key, routes in list(self.inbound_routes.items()):
                kept = tuple(route for route in routes if route.queue is not subscription.queue)
                if kept:
                    self.inbound_routes[key] = kept
                else:
                    del self.inbound_routes[key]
        for entry in _entries(subscription):
            closed = (StreamId(entry.source, entry.epoch, entry.topic), entry.subscription)
            known = self._closed_routes.get(closed)
            self._closed_routes[closed] = entry if known is None else _merged(known, entry)

    def admit(self, subscription: Subscription) -> None:
        """Another loop wants messages of this one. Runs in this loop."""
        self._wanted.add(subscription)
        for stream, interest in itertools.product(self._streams, subscription.interests):
            if interest.wants(stream):
                self._wire_remote(stream, subscription, interest)

    def dismiss(self, subscription: Subscription) -> None:
        """Take :meth:`admit` back. Runs in this loop."""
        self._wanted.remove(subscription)
        reader = subscription.reader
        # Several routes lead from one stream where several interests of the subscription want it.
        mine = [route for route in subscription.routes if (route.stream, reader) in self._link_sinks]
        for route in mine:
            route.leave()
        for stream in {route.stream for route in mine}:
            if not any(other.reader is reader for other, _ in self._wanted.match(stream)):
                # What it has gathered still leaves: the link knows the sink until then.
                stream.remove_sink(self._link_sinks.pop((stream, reader)))

    # --- from other threads ------------------------------------------------------------------

    def listen(self) -> None:
        """Receive frames from the other loops. Runs in this loop."""
        if self._receiver is None:
            self._receiver = FrameReceiver(
                shared_context(), self.endpoint, self._inbound.on_frame, self.network.high_water_mark
            )

    def _find_inbound(self, source: int, epoch: int, topic: str, type_id: int) -> tuple[Route, ...]:
        return self.inbound_routes.get((source, epoch, topic, type_id), ())

    # --- life --------------------------------------------------------------------------------

    def acquire(self) -> None:
        """One more bus uses this exchange."""
        self._users += 1

    def begin(self, name: str, epoch: int) -> None:
        """A service instance publishes here.

        Raises:
            ConfigError: stores ask for keys, and it has none.
        """
        fabric = self.network.fabric
        if fabric is not None and fabric.keys is not None and name not in self._remotes:
            self._add_remote(fabric, name)
        remote = self._remote(name)
        if remote is not None:
            remote.begin(name, epoch)

    def publishing(self, name: str) -> None:
        """A service instance is about to publish here."""
        remote = self._remote(name)
        if remote is not None:
            remote.publishing()

    def renew_keys(self) -> None:
        """Show other keys from now on, where there are others.

        Raises:
            ConfigError: those of some service cannot be read. The others show theirs nevertheless.
        """
        problems: list[Problem] = []
        for remote in self._remotes.values():
            try:
                remote.renew_keys()
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)

    async def release(self, *, wait: bool) -> None:
        """One bus less; the last one closes the exchange.

        Args:
            wait: until what was published is kept, and read from the own store.
        """
        self._users -= 1
        if self._users:
            return
        try:
            await self._close_flushed(wait=wait)
            for subscription in list(self._subscriptions):
                await self.detach(subscription, at_once=True)
                await self.settle(subscription)
        finally:
            self.network.left(self)
            for link in self._links.values():
                link.close()
            if self._receiver is not None:
                await self._receiver.aclose()
            for remote in self._remotes.values():
                await remote.aclose()

    async def readers_there(self, names: Iterable[str], seconds: float) -> frozenset[str]:
        """Wait until these readers in other processes have joined; those that have not in time."""
        # Every one of them asks the same stores.
        remote = next(iter(self._remotes.values()), None)
        return frozenset() if remote is None else await remote.readers_there(frozenset(names), seconds)

    async def _close_flushed(self, *, wait: bool) -> None:
        if not self._remotes:
            await self.flushed()
        elif wait:
            await asyncio.gather(*(remote.settle() for remote in self._remotes.values()))

    def ledger(self) -> Ledger:
        """The books of this event loop."""
        open_routes = [entry for subscription in self._subscriptions for entry in _entries(subscription)]
        books = Ledger(
            streams=tuple(stream.entry() for stream in self._streams if stream.contract.type_id not in UNBOOKED),
            routes=(*self._closed_routes.values(), *open_routes),
            frames_refused=self._inbound.refused.frozen(),
        )
        return sum((remote.ledger() for remote in self._remotes.values()), books)


def _entries(subscription: Subscription) -> list[RouteEntry]:
    queued = subscription.queue.queued_by_route()
    booked = [route for route in list(subscription.routes) if route.stream.contract.type_id not in UNBOOKED]
    local = [route.entry(queued[route]) for route in booked]
    return local + entries(subscription.inlets, queued)


def _merged(first: RouteEntry, second: RouteEntry) -> RouteEntry:
    return replace(
        first,
        published=first.published + second.published,
        delivered=first.delivered + second.delivered,
        dropped=Counter(first.dropped) + Counter(second.dropped),
        queued=first.queued + second.queued,
    )


async def _ask(peers: Iterable[Exchange], question: Callable[[Exchange], None]) -> None:
    """Run ``question`` for every peer in the peer's own event loop and wait for all of them."""
    answers: list[Awaitable[None]] = []
    for peer in peers:
        answer = asyncio.get_running_loop().create_future()
        try:
            peer.loop.call_soon_threadsafe(_answer, peer, question, asyncio.get_running_loop(), answer)
        except RuntimeError:
            continue  # its event loop has ended: nothing is wired to it any more
        answers.append(answer)
    if not answers:
        return
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await asyncio.gather(*answers)
    except TimeoutError:
        raise PathError(
            "another thread", f"its event loop has not answered in {ANSWER_TIMEOUT} s: is it blocked?"
        ) from None


def _answer(
    peer: Exchange,
    question: Callable[[Exchange], None],
    asker: asyncio.AbstractEventLoop,
    answer: asyncio.Future[None],
) -> None:
    try:
        question(peer)
    except Exception as error:  # noqa: BLE001 - belongs to the asker, who raises it
        asker.call_soon_threadsafe(_resolve, answer, error)
    else:
        asker.call_soon_threadsafe(_resolve, answer, None)


def _resolve(answer: asyncio.Future[None], error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
