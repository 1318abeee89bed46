"""What a publisher does towards its broker, with a real broker and real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from mycelium import Bus, Fabric, Network, StoreAddress
from mycelium.broker.broker import Broker
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, decode_frame, encode_frame, source_id
from mycelium.core.errors import PathError
from mycelium.core.message import PayloadCodec
from mycelium.core.policy import Delivery
from mycelium.journal import Journal, MemoryJournal
from mycelium.journal.outbox import Outbox
from mycelium.testing.conformance import Tick, ticks
from mycelium.transport.links import MAX_COALESCED
from mycelium.transport.ports import free_ports
from mycelium.transport.uplinks import BrokerLink


@pytest.fixture
def address() -> StoreAddress:
    frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    return StoreAddress("broker", frames, control, publish)


@asynccontextmanager
async def broker(
    address: StoreAddress, journal: Journal, contracts: Mapping[int, Delivery] | None = None
) -> AsyncIterator[Broker]:
    while True:
        made = Broker(address, journal, time.time_ns, contracts=contracts)
        try:
            made.open()
        except PathError:
            # libzmq closes sockets behind our back: the former broker's may still be there.
            await made.aclose()
            await asyncio.sleep(0.01)
        else:
            break
    try:
        yield made
    finally:
        await made.aclose()


def kept(journal: Journal) -> list[tuple[int, int, int]]:
    """Epoch, first sequence and count of every frame, in the order in which it came."""
    heads = (decode_frame(record.frame) for record in journal.read(0, limit=10_000, max_bytes=1 << 30))
    return [(head.epoch, head.sequence, head.count) for head in heads]


def old_frame(sequence: int) -> Frame:
    """What a former incarnation of ``writer`` left."""
    source, payload = source_id("writer"), PayloadCodec(Tick).encode([Tick("a", sequence)])
    data = encode_frame(Envelope("test.a", 1, 1, source, 7, sequence, 0, payload))
    return Frame(StreamKey(source, 7, "test.a"), sequence, 1, data)


async def test_what_is_published_before_the_broker_is_there_arrives_when_it_is(address: StoreAddress) -> None:
    journal = MemoryJournal()
    async with (
        Bus("writer", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish_many(ticks(10))
        assert bus.ledger().unconfirmed == 10
        async with broker(address, journal):
            await publisher.flush()
            assert bus.ledger().unconfirmed == 0
    assert sum(count for _, _, count in kept(journal)) == 10


async def test_a_broker_that_begins_anew_gets_what_the_former_had_not_confirmed(address: StoreAddress) -> None:
    journal = MemoryJournal()
    async with (
        Bus("writer", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Tick) as publisher,
    ):
        for number in range(4):
            await publisher.publish_many([Tick("a", number)])
            async with broker(address, journal) as made:
                await publisher.publish_many([Tick("a", 10 + number)])
                await publisher.flush()
                assert made.accepted == 2
    (extent,) = journal.streams()
    assert (extent.first, extent.last) == (1, 8)


async def test_what_a_former_incarnation_left_goes_first(address: StoreAddress, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    # It had confirmed 1 to 4 with a broker whose disk is lost.
    outbox.put([old_frame(sequence) for sequence in (5, 6, 7)])
    outbox.close()
    journal = MemoryJournal()
    fabric = Fabric(stores=(address,), outboxes={"writer": partial(Outbox, tmp_path)})
    async with (
        Bus("writer", network=Network(fabric=fabric)) as bus,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish_many(ticks(3))
        assert bus.ledger().unconfirmed == 6
        async with broker(address, journal):
            await publisher.flush()
    found = kept(journal)
    assert [(epoch, sequence) for epoch, sequence, _ in found[:3]] == [(7, 5), (7, 6), (7, 7)]
    assert {epoch for epoch, _, _ in found[3:]} != {7}
    assert sum(count for _, _, count in found[3:]) == 3
    again = Outbox(tmp_path)
    assert again.left == ()
    again.close()


async def test_messages_that_the_broker_refuses_are_counted_and_nobody_waits_for_them(address: StoreAddress) -> None:
    journal = MemoryJournal()
    async with (
        broker(address, journal, contracts={}) as made,
        Bus("writer", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish_many(ticks(5))
        await publisher.flush()
        assert bus.ledger().refused == {"unknown type id": 5}
        assert made.refused.counts["unknown type id"] == 5
    assert journal.streams() == []


async def test_a_hole_that_a_cancelled_publish_has_left_is_passed_over(address: StoreAddress) -> None:
    journal = MemoryJournal()
    async with (
        Bus("writer", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish(Tick("a", 1))
        (stream,) = publisher._streams.values()
        stream.sequence += 3  # what three withdrawn messages leave behind
        await publisher.publish(Tick("a", 5))
        async with (
            broker(address, journal),
            Bus("reader", network=Network(fabric=Fabric(stores=(address,)))) as other,
        ):
            await publisher.flush()
            async with other.subscriber(Tick, start="earliest") as reader:
                assert [(await anext(reader)).number for _ in range(2)] == [1, 5]
                (route,) = other.ledger().routes
                assert route.dropped == {"no longer kept by the store": 3}
                assert other.ledger().balanced


async def test_a_full_window_makes_publishers_wait_until_there_is_a_broker(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokerLink, "window_messages", 2 * MAX_COALESCED)
    journal = MemoryJournal()
    async with (
        Bus("writer", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Tick) as publisher,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await publisher.publish_many(ticks(20_000))
        published = publisher.statistics().published
        assert published < 5_000
        async with broker(address, journal):
            await publisher.publish_many([Tick("a", -1)])
            await publisher.flush()
    (extent,) = journal.streams()
    assert extent.last == published + 1
