"""What processes say of themselves arrives, and is kept nowhere and counted nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest

from mycelium import Bus, Fabric, Network, StoreAddress
from mycelium.broker.broker import Broker
from mycelium.core.policy import Delivery
from mycelium.core.unbooked import STATISTICS_TYPE_ID
from mycelium.journal import MemoryJournal
from mycelium.observe.figures import Figures
from mycelium.observe.statistics import ProcessStatistics, statistics_of
from mycelium.testing.conformance import Tick, ticks
from mycelium.transport.ports import free_ports
from mycelium.transport.uplinks import BrokerLink


def said(number: int = 1) -> ProcessStatistics:
    return statistics_of("market", 1, number, "1.0", Figures())


@pytest.fixture
def address() -> StoreAddress:
    frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    return StoreAddress("broker", frames, control, publish)


async def test_in_one_process_the_books_do_not_know_it() -> None:
    network = Network()
    async with (
        Bus("writer", network=network) as writer,
        Bus("reader", network=network) as reader,
        reader.subscriber(ProcessStatistics) as heard,
        reader.subscriber(Tick) as others,
        writer.publisher(ProcessStatistics) as publisher,
        writer.publisher(Tick) as other,
    ):
        await publisher.publish(said())
        await other.publish(Tick("a", 1))
        assert (await anext(heard)).process == "market"
        assert (await anext(others)).number == 1
        books = network.ledger()
        assert [entry.type_name for entry in books.streams] == ["Tick"]
        assert [entry.topic for entry in books.routes] == ["test.a"]
    assert network.ledger().published == {"Tick": 1}
    assert [entry.topic for entry in network.ledger().routes] == ["test.a"], "nor when its reader has gone"


async def test_a_broker_that_is_away_makes_nobody_wait_and_nothing_count(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokerLink, "window_messages", 10)
    fabric = Fabric(stores=(address,), close_seconds=0.1)
    async with (
        Bus("writer", network=Network(fabric=fabric)) as bus,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish_many(ticks(20))  # the window, and some that are gathered behind it
        before = bus.ledger()
        assert before.unconfirmed == 20
        statistics = bus.publisher(ProcessStatistics)
        async with asyncio.timeout(10):
            for number in range(5_000):
                await statistics.publish(said(number))
        assert bus.ledger() == before
        await asyncio.sleep(0)
        assert bus.ledger() == before
        made = Broker(address, MemoryJournal(), time.time_ns)
        made.open()
        try:
            await statistics.aclose()  # so that it is not told to have been forgotten
            await publisher.flush()
            assert made.accepted == 20
        finally:
            await made.aclose()


@pytest.mark.parametrize("contracts", [None, {}, {STATISTICS_TYPE_ID: Delivery.RELIABLE}])
async def test_a_broker_takes_it_as_live_whatever_its_contracts_are(
    address: StoreAddress, contracts: Mapping[int, Delivery] | None
) -> None:
    journal = MemoryJournal()
    made = Broker(address, journal, time.time_ns, contracts=contracts)
    made.open()
    fabric = Fabric(stores=(address,))
    try:
        async with (
            Bus("writer", network=Network(fabric=fabric)) as writer,
            Bus("reader", network=Network(fabric=fabric)) as reader,
            reader.subscriber(ProcessStatistics, durable="a-name") as heard,
            writer.publisher(ProcessStatistics) as publisher,
        ):
            async with asyncio.timeout(10):
                while not heard.statistics().queued:  # what is said before there is a connection is not heard
                    await publisher.publish(said())
                    await asyncio.sleep(0.01)
            assert (await anext(heard)).process == "market"
            assert (reader.ledger().routes, writer.ledger().streams) == ((), ())
            assert (made.accepted, made.passed_on) == (0, 0)
            await heard.detach()
        assert journal.streams() == []
        assert made.store.clerk.books(0).streams == ()
    finally:
        await made.aclose()
