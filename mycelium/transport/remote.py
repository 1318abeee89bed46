"""What one event loop has to do with other processes: its own store, its clients, and what it publishes to them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from mycelium.core.delivery.control import Join
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import Envelope, source_id
from mycelium.core.errors import PathError, UsageError
from mycelium.core.ledger import Ledger, RouteEntry
from mycelium.core.message import Message, PayloadCodec
from mycelium.core.trace import Tracing
from mycelium.core.unbooked import UNBOOKED
from mycelium.journal import Journal, MemoryJournal
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.client import Client
from mycelium.transport.curve import options_of
from mycelium.transport.inlets import Inlet, Surroundings
from mycelium.transport.keyring import fingerprint
from mycelium.transport.links import LinkSink, StrictSink
from mycelium.transport.members import Member
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.store import Store
from mycelium.transport.streams import Stream
from mycelium.transport.subscriptions import Interest
from mycelium.transport.uplinks import BrokerLink, PassingSink, StoreLink

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("fabric")

REPORT_SECONDS = 2.0
"""How long a store may take to note how far a leaving reader is."""


LINGER_MS = 200
"""How long libzmq may go on sending what a closing store has said."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a subscription reads from stores.

    Args:
        start: where it begins if it has not been here before.
        time_ns: for ``time``.
        durable: whether stores keep how far it is, under its name, for when it comes back.
        group: whether it shares its streams with all others of its name.
        patience_ns: how long a member of a group may take without getting on.
    """

    start: Start = Start.NEW
    time_ns: int = 0
    durable: bool = False
    group: bool = False
    patience_ns: int = 30_000_000_000

    @property
    def is_plain(self) -> bool:
        """Whether it wants no more than what is published from now on, so that the nearest path will do."""
        return self.start is Start.NEW and not self.durable and not self.group


PLAIN = Reading()


class Remote:
    """The other processes, for one event loop.

    Args:
        fabric: where they are.
        time_ns: the time.
        codec: the codec of a contract's class.
        own_epochs: of those that publish in this event loop, which all that read in it hear from another path.
        name: the only service instance that uses it, where stores ask for keys.
        tracing: is told of what was read back; None if nothing is traced.
    """

    def __init__(
        self,
        fabric: Fabric,
        time_ns: Callable[[], int],
        codec: Callable[[type[Message]], PayloadCodec[Any]],
        own_epochs: set[tuple[int, int]],
        name: str = "",
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._fabric = fabric
        self._live = fabric.live | UNBOOKED
        self._name = name
        self._credentials = fabric.keys(name) if fabric.keys is not None else None
        self._time_ns = time_ns
        self._codec = codec
        self._names: dict[str, int] = {}
        self._own_epochs = own_epochs
        self._numbers = itertools.count(1)
        self._inlets: dict[Inlet, Client] = {}
        self._decoded: tuple[Envelope | None, list[Message]] = (None, [])
        self._journal: Journal | None = None
        self._store: Store | None = self._open_store(fabric.own) if fabric.own is not None else None
        self._own_client: Client | None = None
        self._clients: list[Client] = []
        self._uplink: StoreLink | BrokerLink
        for address in fabric.stores:
            self._clients.append(self._client(address))
        broker = fabric.broker
        if broker is not None and broker.publish is not None:
            client = self._clients[fabric.stores.index(broker)]
            outboxes = {source_id(one): make() for one, make in fabric.outboxes.items() if name in ("", one)}
            keys = options_of(self._credentials)
            self._uplink = BrokerLink(broker.publish, client.say, time_ns, self._live, outboxes, keys)
        elif self._store is not None:
            self._uplink = StoreLink(self._store, self._live)
        else:
            raise UsageError("a fabric needs a broker, or a store of its own: there is nowhere to publish to")
        self._beating = asyncio.get_running_loop().create_task(self._beat_forever(), name="fabric beat")

    def _open_store(self, address: StoreAddress) -> Store:
        self._journal = (self._fabric.journal or MemoryJournal)()
        store = Store(address, self._journal, self._time_ns, names=self._fabric.names)
        try:
            store.open()
        except PathError:
            self._journal.close()
            raise
        return store

    def _client(self, address: StoreAddress) -> Client:
        client = Client(
            address,
            lambda: tuple(self._names),
            self._on_publisher,
            self._credentials,
            self._on_keys,
            self._tracing,
            self._time_ns,
        )
        client.source_names.update({source_id(name): name for name in self._fabric.names})
        return client

    def _on_publisher(self, said: Any) -> None:
        if isinstance(self._uplink, BrokerLink):
            self._uplink.on_said(said)

    def _on_keys(self, options: Mapping[int, int | bytes]) -> None:
        if isinstance(self._uplink, BrokerLink):
            self._uplink.use_keys(options)

    def renew_keys(self) -> None:
        """Show other keys from now on, if there are others.

        Raises:
            ConfigError: they cannot be read.
        """
        if self._fabric.keys is None:
            return
        credentials = self._fabric.keys(self._name)
        if credentials == self._credentials:
            return
        before, self._credentials = self._credentials, credentials
        for client in self._all_clients():
            client.use_keys(credentials)
        if before is None or before.pair != credentials.pair:
            log.info("connected anew with other keys", service=self._name, key=fingerprint(credentials.pair.public))
        else:
            log.info("the broker has other keys", service=self._name, keys=len(credentials.servers))

    # --- publishing --------------------------------------------------------------------------

    def begin(self, name: str, epoch: int) -> None:
        """A service instance publishes here."""
        self._names[name] = epoch
        self._own_epochs.add((source_id(name), epoch))
        if self._store is not None:
            self._store.clerk.know((name,))
        for client in self._clients:
            client.say_alive()

    def publishing(self) -> None:
        """Somebody here is about to publish."""
        if isinstance(self._uplink, BrokerLink):
            self._uplink.open()

    def sink(self, stream: Stream) -> LinkSink:
        """What takes a stream's messages to the others."""
        kind = StrictSink if stream.id.source_name in self._fabric.outboxes else LinkSink
        if stream.contract.type_id in UNBOOKED:
            kind = PassingSink
        codec = self._codec(stream.contract.message_type)
        return kind(self._uplink, stream, codec, coalesce=self._fabric.coalesce)

    async def flushed(self) -> None:
        """Return when everything published is in a store's journal."""
        await self._uplink.flushed()

    # --- reading -----------------------------------------------------------------------------

    def inlets(
        self, interests: Collection[Interest], queue: BoundedQueue, reading: Reading, on_end: Callable[[], None]
    ) -> list[Inlet]:
        """The readers of a subscription, one for each interest and store. They begin to join.

        Raises:
            UsageError: a group wants messages that no store keeps.
        """
        clients = list(self._clients)
        if self._fabric.own is not None and not reading.is_plain:
            # What this process publishes comes back from its own store: only the store knows how far a reader is.
            if self._own_client is None:
                self._own_client = self._client(self._fabric.own)
            clients.append(self._own_client)
        unkept = [interest.name for interest in interests if interest.contract.type_id in self._live]
        if reading.group and unkept:
            raise UsageError(f"group {unkept[0]!r}: a contract of delivery class live is not kept, so it has no groups")
        made = []
        for interest, client in itertools.product(interests, clients):
            number = next(self._numbers)
            live = interest.contract.type_id in self._live
            around = Surroundings(
                decode=self._decode,
                source_name=client.source_name,
                is_own=self._is_own if reading.is_plain else _never,
                live=live,
                fetch=client.fetch,
                on_end=on_end,
            )
            kind = Member if reading.group else Inlet
            inlet = kind(number, interest, queue, _join(number, interest, reading), around)
            self._inlets[inlet] = client
            client.add(inlet)
            made.append(inlet)
        return made

    def _is_own(self, source: int, epoch: int) -> bool:
        return (source, epoch) in self._own_epochs

    def _decode(self, envelope: Envelope, interest: Interest) -> list[Message]:
        """A frame's messages; those of the frame before are kept, for the other readers in this process."""
        if self._decoded[0] is not envelope:
            codec = self._codec(interest.contract.message_type)
            self._decoded = (envelope, codec.decode(envelope.payload, envelope.count))
        return self._decoded[1]

    async def joined(self, inlets: Iterable[Inlet]) -> None:
        """Wait until readers have joined. A store that does not answer in time is joined when it does."""
        late = []
        try:
            async with asyncio.timeout(self._fabric.ready_seconds):
                for inlet in inlets:
                    late = [inlet]
                    await inlet.joined.wait()
        except TimeoutError:
            down = sorted({self._inlets[inlet].address.name for inlet in inlets if not inlet.joined.is_set()})
            log.warning(
                "stores do not answer; their messages will be read when they do",
                stores=down,
                seconds=self._fabric.ready_seconds,
                readers=len(late),
            )

    def detach(self, inlets: Iterable[Inlet]) -> None:
        """Readers take nothing that is published from now on."""
        for inlet in inlets:
            client = self._inlets.get(inlet)
            if client is None or not inlet.joined.is_set() or not client.is_up:
                inlet.end()
            elif not inlet.ended:
                client.ask_marks(inlet)

    async def leave(self, inlets: Iterable[Inlet]) -> None:
        """Readers are done: their stores note how far they have come."""
        for inlet in inlets:
            inlet.end()
            client = self._inlets.pop(inlet, None)
            if client is None:
                continue
            if inlet.joined.is_set() and client.is_up and not await client.report_last(inlet, REPORT_SECONDS):
                log.warning("the store has not noted how far a reader is", reader=inlet.join.name)
            client.remove(inlet)

    # --- life --------------------------------------------------------------------------------

    async def _beat_forever(self) -> None:
        while isinstance(self._uplink, BrokerLink):
            await asyncio.sleep(0.25)
            self._uplink.beat()

    def ledger(self) -> Ledger:
        """What is not the matter of one stream or reader."""
        total = Ledger()
        for client in self._all_clients():
            total += Ledger(frames_refused=client.refused.frozen())
        if isinstance(self._uplink, BrokerLink):
            total += Ledger(unconfirmed=self._uplink.unconfirmed, refused=self._uplink.refused.frozen())
        return total

    def _all_clients(self) -> list[Client]:
        return self._clients if self._own_client is None else [*self._clients, self._own_client]

    async def readers_there(self, names: frozenset[str], seconds: float) -> frozenset[str]:
        """Wait until these readers have joined where this process publishes; those that have not in time."""
        if isinstance(self._uplink, BrokerLink):
            return await self._clients[0].has_readers(names, seconds)
        return await self._store.readers_there(names, seconds) if self._store is not None else frozenset()

    async def settle(self) -> None:
        """Wait until what was published is kept, and until those who read from the own store are done."""
        seconds = self._fabric.close_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._uplink.flushed()
        except TimeoutError:
            log.error("not everything published is confirmed", seconds=seconds, messages=self.ledger().unconfirmed)
        if self._store is not None and not await self._store.readers_done(seconds):
            log.error("readers are not done with what this process has published", seconds=seconds)

    async def aclose(self) -> None:
        """Let go of everything."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        for client in self._all_clients():
            await client.aclose()
        self._uplink.close()
        if self._store is not None:
            await self._store.aclose(linger_ms=LINGER_MS)
        if self._journal is not None:
            self._journal.close()


def entries(inlets: Iterable[Inlet], queued: dict[Any, int]) -> list[RouteEntry]:
    """What the ledger says of some readers."""
    found = []
    for inlet in inlets:
        if inlet.interest.contract.type_id in UNBOOKED:
            continue
        inlet.refresh()
        found += [route.entry(queued.get(route, 0)) for route in inlet.all_routes]
    return found


def _never(_source: int, _epoch: int) -> bool:
    return False


def _join(number: int, interest: Interest, reading: Reading) -> Join:
    patterns = (interest.pattern.text, interest.contract.topic.pattern.text)
    return Join(
        number,
        interest.name,
        interest.contract.type_id,
        patterns,
        reading.start,
        reading.time_ns,
        reading.durable,
        reading.group,
        reading.patience_ns,
    )
