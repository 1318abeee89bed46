"""Services that share a process and a network, at a broker with keys: each has keys and connections of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs

from mycelium import Bus, Message, Network
from mycelium.broker.broker import Broker
from mycelium.broker.security import Security
from mycelium.bus.subscriber import Subscriber
from mycelium.core.access import Access, Entry, Rights
from mycelium.core.errors import ConfigError, PathError, Problem
from mycelium.core.topics import Pattern
from mycelium.journal import MemoryJournal
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.books import read_books, read_clients
from mycelium.transport.guard import user_of
from mycelium.transport.keyring import Credentials, KeyPair, fingerprint
from mycelium.transport.ports import free_ports
from tests.unit.transport.stores import until


class Tick(Message, type_id=1, topic="ticks.{venue}"):
    venue: str
    number: int


class Order(Message, type_id=2, topic="orders.{venue}"):
    venue: str
    number: int


TICKS, ORDERS = Entry(1, Pattern.parse("ticks.*")), Entry(2, Pattern.parse("orders.*"))
ACCESS = Access(
    {
        "feeder": Rights(publishes=(TICKS,)),
        "trader": Rights(publishes=(ORDERS,), subscribes=(TICKS,)),
        "clearing": Rights(subscribes=(ORDERS, TICKS)),
        "ledger": Rights(is_operator=True),
    }
)
NAMES = ("feeder", "trader", "clearing", "ledger")


def key_pair() -> KeyPair:
    return KeyPair(*(key.decode() for key in zmq.curve_keypair()))


@dataclass
class Place:
    """A broker with keys, and those who may come."""

    broker: Broker
    address: StoreAddress
    server: KeyPair
    pairs: dict[str, KeyPair]
    missing: set[str] = field(default_factory=set)

    def credentials(self, name: str) -> Credentials:
        if name in self.missing:
            raise ConfigError([Problem(f"keys/{name}.key_secret", "", "cannot be read")])
        return Credentials(name, self.pairs[name], (self.server.public,))

    def network(self) -> Network:
        return Network(fabric=Fabric(stores=(self.address,), keys=self.credentials, ready_seconds=5, close_seconds=5))

    def security(self) -> Security:
        users = {pair.public: user_of(name, fingerprint(pair.public)) for name, pair in self.pairs.items()}
        return Security(ACCESS, users, self.server)


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    address = StoreAddress("broker", frames, control, publish)
    pairs, server = {name: key_pair() for name in NAMES}, key_pair()
    users = {pair.public: user_of(name, fingerprint(pair.public)) for name, pair in pairs.items()}
    journal = MemoryJournal()
    broker = Broker(address, journal, time.time_ns, security=Security(ACCESS, users, server))
    broker.open()
    try:
        yield Place(broker, address, server, pairs)
    finally:
        await broker.aclose()
        journal.close()


async def read(subscriber: Subscriber[Tick], number: int) -> list[Tick]:
    async with asyncio.timeout(10):
        return [await anext(subscriber) for _ in range(number)]


async def test_each_service_has_connections_of_its_own() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        trader.subscriber(Tick),
        feeder.publisher(Tick) as publisher,
    ):
        await publisher.publish(Tick("x", 1))
        await publisher.flush()
        clients = (await read_clients(at.address, 5, at.credentials("ledger"))).clients
        there = {client.user: (client.names, [reader.name for reader in client.readers]) for client in clients}
        assert there.pop("ledger", ((), [])) == ((), [])
        assert there == {"feeder": (("feeder",), []), "trader": (("trader",), ["trader:ticks.*"])}
        assert not at.broker.refused.counts, "nobody speaks for another"


async def test_between_them_messages_pass_by_reference_and_once() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        Bus("clearing", network=at.network()) as elsewhere,
        trader.subscriber(Tick) as here,
        elsewhere.subscriber(Tick) as there,
        feeder.publisher(Tick) as publisher,
    ):
        sent = [Tick("x", number) for number in range(500)]
        for message in sent:
            await publisher.publish(message)
        got = await read(here, len(sent))
        assert [id(message) for message in got] == [id(message) for message in sent], "the very objects"
        assert await read(there, len(sent)) == sent, "and everybody else gets them from the broker"
        # Had they come once more, they would have come before this one.
        await publisher.flush()
        await publisher.publish(last := Tick("x", -1))
        assert [id(message) for message in await read(here, 1)] == [id(last)]
        assert await read(there, 1) == [last]
        assert at.broker.accepted == len(sent) + 1
        assert not at.broker.refused.counts


async def test_a_durable_reader_gets_what_a_neighbour_publishes_from_the_broker_and_once() -> None:
    async with place() as at:
        sent = [Tick("x", number) for number in range(300)]
        network = at.network()
        async with (
            Bus("feeder", network=network) as feeder,
            Bus("trader", network=network) as trader,
            trader.subscriber(Tick, durable="mine") as here,
            feeder.publisher(Tick) as publisher,
        ):
            await publisher.publish_many(sent)
            got = await read(here, len(sent))
            assert got == sent
            assert not {id(message) for message in got} & {id(message) for message in sent}
        assert network.ledger().balanced
        (book,) = (await read_books(at.address, 5, at.credentials("ledger"))).streams
        (account,) = book.readers.values()
        assert account.delivered >= len(sent) - 1, "all but what was in hand"
        assert not at.broker.refused.counts


async def test_closing_waits_for_what_each_of_them_has_published_and_the_books_balance() -> None:
    async with place() as at:
        network = at.network()
        async with (
            Bus("feeder", network=network) as feeder,
            Bus("trader", network=network) as trader,
            feeder.publisher(Tick) as ticks,
            trader.publisher(Order) as orders,
        ):
            await ticks.publish_many(Tick("x", number) for number in range(2_000))
            await orders.publish_many(Order("x", number) for number in range(1_000))
        books = network.ledger()
        assert (at.broker.accepted, books.unconfirmed, books.balanced) == (3_000, 0, True)
        assert {stream.source: stream.published for stream in books.streams} == {"feeder": 2_000, "trader": 1_000}
        kept = (await read_books(at.address, 5, at.credentials("ledger"))).streams
        assert sorted(book.last for book in kept) == [1_000, 2_000]


async def test_flushing_waits_for_all_of_the_process() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        feeder.publisher(Tick) as ticks,
        trader.publisher(Order) as orders,
    ):
        await ticks.publish(Tick("x", 1))
        await orders.publish(Order("x", 1))
        await orders.flush()
        assert at.broker.accepted == 2
        assert network.ledger().unconfirmed == 0


async def test_what_one_may_not_publish_its_neighbour_may_not_do_for_it() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        feeder.publisher(Order) as wrong,
        trader.publisher(Order) as right,
    ):
        await wrong.publish(Order("x", 1))
        await right.publish(Order("x", 1))
        await right.flush()
        assert at.broker.accepted == 1
        refused = {
            (o.who, o.cause): o.count for o in (await read_books(at.address, 5, at.credentials("ledger"))).offences
        }
        assert refused == {("feeder", "not its topic to publish"): 1}
        books = network.ledger()
        assert (books.unconfirmed, dict(books.refused)) == (0, {"not its topic to publish": 1})


async def test_only_whose_keys_have_changed_connects_anew() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        Bus("clearing", network=at.network()) as clearing,
        clearing.subscriber(Order) as reader,
        feeder.publisher(Tick) as ticks,
        trader.publisher(Order) as orders,
    ):
        await ticks.publish(Tick("x", 1))
        await orders.publish(Order("x", 1))
        await orders.flush()
        at.pairs["trader"] = key_pair()
        at.broker.renew(at.security(), {})
        with capture_logs() as logs:
            network.renew_keys()
        assert [line.get("service") for line in logs if "connected anew" in line["event"]] == ["trader"]
        await ticks.publish(Tick("x", 2))
        await orders.publish(Order("x", 2))
        async with asyncio.timeout(10):
            await orders.flush()
            assert [(await anext(reader)).number for _ in range(2)] == [1, 2]
        with capture_logs() as logs:
            network.renew_keys()
        assert not logs, "nothing has changed"


async def test_one_whose_keys_cannot_be_read_does_not_keep_its_neighbours_from_theirs() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=network) as trader,
        feeder.publisher(Tick) as ticks,
        trader.publisher(Order) as orders,
    ):
        await ticks.publish(Tick("x", 1))
        await orders.publish(Order("x", 1))
        await orders.flush()
        at.missing.add("feeder")
        at.pairs["trader"] = key_pair()
        at.broker.renew(at.security(), {})
        with pytest.raises(ConfigError, match=r"feeder.key_secret: cannot be read"):
            network.renew_keys()
        await orders.publish(Order("x", 2))
        async with asyncio.timeout(10):
            await orders.flush()
        assert at.broker.accepted == 3


async def test_a_service_without_keys_does_not_begin_and_leaves_nothing_behind() -> None:
    async with place() as at:
        at.missing.add("trader")
        network = at.network()
        async with Bus("feeder", network=network) as feeder, feeder.publisher(Tick) as publisher:
            await publisher.publish(Tick("x", 1))
            with pytest.raises(ConfigError, match=r"trader.key_secret: cannot be read"):
                async with Bus("trader", network=network):
                    pass
            await publisher.publish(Tick("x", 2))
        assert at.broker.accepted == 2
        assert network.ledger().balanced
        # Closed with the last of them: what is opened now is another one.
        at.missing.clear()
        async with Bus("trader", network=network) as trader, trader.subscriber(Tick, start="earliest") as ticks:
            assert [tick.number for tick in await read(ticks, 2)] == [1, 2]


async def test_a_service_without_keys_that_is_alone_leaves_nothing_behind() -> None:
    async with place() as at:
        at.missing.add("trader")
        with pytest.raises(ConfigError, match=r"trader.key_secret: cannot be read"):
            async with Bus("trader", network=at.network()):
                pass


async def test_readers_elsewhere_are_waited_for() -> None:
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())),
        Bus("trader", network=network),
        Bus("clearing", network=at.network()) as clearing,
    ):
        exchange = network.exchange()
        assert await exchange.readers_there(["clearing.on_tick"], 0.2) == {"clearing.on_tick"}
        async with clearing.subscriber(Tick, name="clearing.on_tick"):
            assert await exchange.readers_there(["clearing.on_tick"], 5) == frozenset()


async def test_one_process_has_one_broker_with_keys(tmp_path: Path) -> None:
    """libzmq asks one place of a process whose key is accepted. A second broker says so, and takes nothing down."""
    async with place() as at:
        ports = free_ports(3)
        frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in ports)
        journal = MemoryJournal()
        second = Broker(
            replace(at.address, frames=frames, control=control, publish=publish),
            journal,
            time.time_ns,
            security=at.security(),
        )
        with pytest.raises(PathError, match=r"inproc://zeromq\.zap\.01"):
            second.open()
        await second.aclose()
        journal.close()
        assert (await read_clients(at.address, 5, at.credentials("ledger"))).is_guarded


async def test_a_key_that_the_broker_takes_up_later_than_its_holder_opens_the_door_then() -> None:
    """Both look for changes once a second, and whose turn comes first is chance."""
    async with (
        place() as at,
        Bus("feeder", network=(network := at.network())) as feeder,
        Bus("trader", network=at.network()) as trader,
        trader.subscriber(Tick) as reader,
        feeder.publisher(Tick) as ticks,
    ):
        await ticks.publish(Tick("x", 1))
        await ticks.flush()
        at.pairs["feeder"] = key_pair()
        network.renew_keys()
        await ticks.publish(Tick("x", 2))
        async with asyncio.timeout(20):
            await until(lambda: "unknown key" in at.broker.refused.counts)
            at.broker.renew(at.security(), {})
            await ticks.flush()
            assert [(await anext(reader)).number for _ in range(2)] == [1, 2]
