"""Delivery class live: the newest data only. What is dropped is counted, and nothing is kept or asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mycelium import Bus, Network
from mycelium.broker.broker import Broker
from mycelium.core.policy import Delivery
from mycelium.journal import MemoryJournal
from mycelium.testing.conformance import Tick, ticks
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.ports import free_ports

LIVE = frozenset({1})
"""The type id of Tick."""


def address_of_broker() -> StoreAddress:
    frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    return StoreAddress("broker", frames, control, publish)


@asynccontextmanager
async def broker(address: StoreAddress) -> AsyncIterator[Broker]:
    made = Broker(address, MemoryJournal(), time.time_ns, contracts={1: Delivery.LIVE})
    made.open()
    try:
        yield made
    finally:
        await made.aclose()


async def test_through_the_broker_nothing_is_kept() -> None:
    address = address_of_broker()
    fabric = Fabric(stores=(address,), live=LIVE)
    async with broker(address) as made:
        async with (
            Bus("writer", network=Network(fabric=fabric)) as writer,
            Bus("reader", network=Network(fabric=fabric)) as reader,
            reader.subscriber(Tick, name="seen") as seen,
            writer.publisher(Tick) as publisher,
        ):
            got: list[Tick] = []
            # What is sent before there is a connection is dropped: so it is sent until something arrives.
            while not got:
                await publisher.publish(Tick("a", -1))
                await asyncio.sleep(0.01)
                got += [seen.receive_nowait() for _ in range(seen.statistics().queued)]
            await publisher.publish_many(ticks(100))
            while len(got) == 0 or got[-1].number != 99:
                got.append(await anext(seen))
            assert [tick.number for tick in got if tick.number >= 0] == list(range(100))
            assert made.passed_on >= 100
            books = reader.ledger()
            assert books.balanced
            (route,) = books.routes
            assert route.delivered == route.published == len(got)
        assert made.store.journal.streams() == []


async def test_a_publisher_without_a_broker_drops_and_counts() -> None:
    fabric = Fabric(stores=(address_of_broker(),), live=LIVE, close_seconds=0.1)
    async with Bus("writer", network=Network(fabric=fabric)) as writer, writer.publisher(Tick) as publisher:
        await publisher.publish_many(ticks(10))
        await publisher.flush()
        assert writer.ledger().unconfirmed == 0
        assert writer.ledger().refused == {"live, and the broker is down or busy": 10}


async def test_a_reader_that_is_full_drops_and_counts(tmp_path: Path) -> None:
    own, other = (StoreAddress(name, f"ipc://{tmp_path}/{name}.f", f"ipc://{tmp_path}/{name}.c") for name in ("w", "r"))
    async with (
        Bus("writer", network=Network(fabric=Fabric(own=own, stores=(other,), live=LIVE, close_seconds=0.1))) as writer,
        Bus("reader", network=Network(fabric=Fabric(own=other, stores=(own,), live=LIVE, close_seconds=0.1))) as reader,
        reader.subscriber(Tick, name="full", capacity=5) as full,
        reader.subscriber(Tick, name="awake", capacity=10_000) as awake,
        writer.publisher(Tick) as publisher,
    ):
        for tick in ticks(1_000):
            await publisher.publish(tick)
            if tick.number % 100 == 0:
                await asyncio.sleep(0)  # so that it leaves in several frames
        while (await anext(awake)).number != 999:
            pass
        books = {route.subscription: route for route in reader.ledger().routes}
        assert reader.ledger().balanced
        assert books["awake"].delivered == 1_000
        got = []
        while full.statistics().queued:
            got.append((await anext(full)).number)
            await asyncio.sleep(0)
        # The frame that was half in the queue comes to its end; those that came meanwhile were dropped.
        assert got == list(range(len(got)))
        assert 6 < len(got) < 1_000
        (books["full"],) = (route for route in reader.ledger().routes if route.subscription == "full")
        assert books["full"].dropped == {"queue policy live": 1_000 - len(got)}
        assert books["full"].queued == 0
        assert reader.ledger().balanced


async def test_a_reader_that_is_detached_has_what_has_come() -> None:
    """It waits for nothing more: the broker keeps nothing that it could ask for."""
    address = address_of_broker()
    fabric = Fabric(stores=(address,), live=LIVE)
    async with (
        broker(address),
        Bus("writer", network=Network(fabric=fabric)) as writer,
        Bus("reader", network=Network(fabric=fabric)) as reader,
        reader.subscriber(Tick, name="seen") as seen,
        writer.publisher(Tick) as publisher,
    ):
        while not seen.statistics().queued:
            await publisher.publish(Tick("a", -1))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await seen.detach()
            assert [tick.number async for tick in seen][:1] == [-1]
