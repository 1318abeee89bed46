"""Between threads: what arrives broken, what is too large, what cannot travel, and who is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zmq

from mycelium.bus.bus import Bus, interest
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.core.errors import PathError, WouldBlock
from mycelium.core.message import Message
from mycelium.testing.conformance import Tick, stands_still, ticks
from mycelium.testing.paths import OtherThread
from mycelium.transport.exchange import Network
from mycelium.transport.links import MAX_COALESCED, MAX_LOAD, Inbound
from mycelium.transport.sockets import FrameReceiver, shared_context


class Bulky(Message, type_id=3, topic="bulky"):
    """A message of any size, or one that cannot travel at all."""

    content: Any


@asynccontextmanager
async def threads(high_water_mark: int = 64) -> AsyncIterator[tuple[Network, Bus, OtherThread]]:
    network = Network(high_water_mark=high_water_mark)
    async with Bus("writer", network=network) as writer:
        other = OtherThread(network)
        await other.start()
        try:
            yield network, writer, other
        finally:
            await other.stop()


async def attached(other: OtherThread, message_type: type[Any]) -> Any:
    async def attach(bus: Bus) -> Any:
        subscriber = bus.subscriber(message_type)
        await subscriber.attach()
        return subscriber

    return await other.call(attach)


async def next_of(other: OtherThread, subscriber: Any, number: int) -> list[Any]:
    async def read(_bus: Bus) -> list[Any]:
        return [await anext(subscriber) for _ in range(number)]

    return await other.call(read)


async def test_rubbish_on_the_socket_stops_nobody() -> None:
    async with threads() as (network, writer, other), writer.publisher(Tick) as publisher:
        subscriber = await attached(other, Tick)
        await publisher.publish(Tick("a", 1))
        assert await next_of(other, subscriber, 1) == [Tick("a", 1)]
        good = Envelope("test.a", 1, 1, source_id("writer"), publisher._epoch, 2, 0, b"\x91\x92\xa1a\x02")
        frames = [
            b"",
            b"rubbish",
            b"test.a\0" + bytes(100),
            encode_frame(good)[:-1] + b"\xff",  # checksum
            encode_frame(Envelope("elsewhere", 1, 1, 5, 6, 1, 0, b"\x91\x90")),  # nobody reads it
            encode_frame(good),
            encode_frame(good),  # repeated
            encode_frame(Envelope("test.a", 1, 1, source_id("writer"), publisher._epoch, 3, 0, b"\x91\x05")),  # no Tick
            encode_frame(Envelope("test.a", 1, 1, source_id("writer"), publisher._epoch, 6, 0, b"\x91\x92\xa1a\x06")),
        ]
        (exchange,) = network._others(network.exchange())
        socket = shared_context().socket(zmq.PUSH)
        socket.connect(exchange.endpoint)
        for frame in frames:
            socket.send(frame)
        assert await next_of(other, subscriber, 2) == [Tick("a", 2), Tick("a", 6)]
        assert network.ledger().frames_refused == {"frame refused": 4, "decode error": 1}
        (route,) = network.ledger().routes
        assert (route.delivered, dict(route.dropped)) == (3, {"decode error": 1, "lost in transport": 2})
        socket.close(linger=0)
        # The publisher knows nothing of what was smuggled in: the books say so.
        assert not network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


async def test_messages_too_large_for_one_frame_together_leave_in_several() -> None:
    async with threads() as (network, writer, other), writer.publisher(Bulky) as publisher:
        subscriber = await attached(other, Bulky)
        sent = [Bulky(bytes(100_000)) for _ in range(40)]
        await publisher.publish_many(sent)
        assert await next_of(other, subscriber, 40) == sent
        assert network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


@pytest.mark.parametrize("broken", [bytes(2 << 20), object(), 2**70], ids=["too large", "no type", "too big a number"])
async def test_a_message_that_cannot_travel_is_a_counted_hole(broken: Any) -> None:
    async with threads() as (network, writer, other), writer.publisher(Bulky) as publisher:
        subscriber = await attached(other, Bulky)
        for content in (1, broken, 2, broken):
            await publisher.publish(Bulky(content))
        assert await next_of(other, subscriber, 2) == [Bulky(1), Bulky(2)]
        await publisher.flush()
        ledger = network.ledger()
        assert ledger.balanced, ledger.routes
        assert dict(ledger.dropped) == {"cannot travel": 1, "lost in transport": 1}
        await other.call(lambda _bus: subscriber.aclose())


async def test_messages_of_one_turn_leave_together() -> None:
    frames: list[int] = []
    handle = Inbound.on_frame

    def counting(self: Inbound, frame: bytes) -> Awaitable[None] | None:
        frames.append(len(frame))
        return handle(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inbound, "on_frame", counting)
        async with threads() as (_, writer, other), writer.publisher(Tick) as publisher:
            subscriber = await attached(other, Tick)
            for tick in ticks(1 + 2 * MAX_COALESCED):
                publisher.publish_nowait(tick)
            await next_of(other, subscriber, 1 + 2 * MAX_COALESCED)
            await other.call(lambda _bus: subscriber.aclose())
    # The first leaves at once, the rest of the turn in as few frames as may be.
    assert len(frames) == 3


async def test_many_streams_together_gather_no_more_than_one_may() -> None:
    """A publisher that never has to wait ends no turn of the event loop."""
    lanes = [f"lane-{number}" for number in range(3_000)]
    messages = [Tick(lane, number) for number in range(20) for lane in lanes]
    async with threads() as (network, writer, other), writer.publisher(Tick) as publisher:
        subscriber = await attached(other, Tick)
        await publisher.publish(messages[0])
        (link,) = writer._opened()._links.values()
        loads = []

        async def publish() -> None:
            for message in messages[1:]:
                await publisher.publish(message)
                loads.append(link.load)

        _, got = await asyncio.gather(publish(), next_of(other, subscriber, len(messages)))
        assert max(loads) <= MAX_LOAD
        assert link.load == 0
        for lane in lanes[::500]:
            assert [tick.number for tick in got if tick.lane == lane] == list(range(20))
        assert network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


async def test_publish_nowait_tells_that_a_link_is_full() -> None:
    async with threads(high_water_mark=4) as (network, writer, other), writer.publisher(Tick) as publisher:
        subscriber = await attached(other, Tick)
        sent = 0
        with pytest.raises(WouldBlock):  # noqa: PT012 - which call it is decides the path's room
            for tick in ticks(100_000):
                publisher.publish_nowait(tick)
                sent += 1
        assert await next_of(other, subscriber, sent) == ticks(sent)
        assert network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


async def test_a_withdrawn_message_leaves_a_hole_that_its_followers_respect() -> None:
    async with threads(high_water_mark=1) as (network, writer, other), writer.publisher(Tick) as publisher:

        async def attach(bus: Bus) -> Any:
            subscriber = bus.subscriber(Tick, capacity=1)
            await subscriber.attach()
            return subscriber

        subscriber = await other.call(attach)
        publishing = [asyncio.create_task(publisher.publish(tick)) for tick in ticks(20_000)]
        await stands_still(network.ledger)
        waiting = [number for number, task in enumerate(publishing) if not task.done()]
        assert len(waiting) > 100
        given_up = waiting[10:20]
        for number in given_up:
            publishing[number].cancel()
        await asyncio.wait([publishing[number] for number in given_up])
        expected = [number for number in range(20_000) if number not in given_up]
        assert [tick.number for tick in await next_of(other, subscriber, len(expected))] == expected
        assert dict(network.ledger().dropped) == {"lost in transport": 10}
        assert network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


async def test_many_threads_hear_one_another() -> None:
    network = Network()
    others = [OtherThread(network) for _ in range(3)]
    async with Bus("writer", network=network) as writer, writer.publisher(Tick) as publisher:
        subscribers = []
        for other in others:
            await other.start()
            subscribers.append(await attached(other, Tick))
        await publisher.publish_many(ticks(500))
        for other, subscriber in zip(others, subscribers, strict=True):
            assert await next_of(other, subscriber, 500) == ticks(500)
        # A thread that joins later reads what is there, and a subscription that was there reads what it writes.
        await others[0].call(_publish_from_there)
        for other, subscriber in zip(others, subscribers, strict=True):
            assert await next_of(other, subscriber, 1) == [Tick("there", 1)]
        assert network.ledger().balanced
        for other, subscriber in zip(others, subscribers, strict=True):
            await other.call(lambda _bus, subscriber=subscriber: subscriber.aclose())  # type: ignore[misc]
            await other.stop()
    assert network.ledger().balanced


async def _publish_from_there(bus: Bus) -> None:
    async with bus.publisher(Tick) as publisher:
        await publisher.publish(Tick("there", 1))


async def test_a_fault_of_ours_costs_one_frame() -> None:
    handled: list[bytes] = []
    done = asyncio.Event()

    def handle(frame: bytes) -> None:
        if frame == b"bad":
            raise RuntimeError("a fault of ours")
        handled.append(frame)
        if frame == b"last":
            done.set()

    receiver = FrameReceiver(shared_context(), "inproc://faulty", handle)
    socket = shared_context().socket(zmq.PUSH)
    socket.connect("inproc://faulty")
    for frame in (b"first", b"bad", b"last"):
        socket.send(frame)
    await done.wait()
    assert handled == [b"first", b"last"]
    socket.close(linger=0)
    await receiver.aclose()


async def test_an_endpoint_in_use_is_named() -> None:
    receiver = FrameReceiver(shared_context(), "inproc://taken", lambda _frame: None)
    with pytest.raises(PathError, match="inproc://taken: cannot bind: Address already in use"):
        FrameReceiver(shared_context(), "inproc://taken", lambda _frame: None)
    await receiver.aclose()


async def test_a_reader_that_joins_beside_a_full_one_gets_what_is_published_from_then_on() -> None:
    async with threads(high_water_mark=1) as (network, writer, other), writer.publisher(Tick) as publisher:

        async def attach(bus: Bus) -> Any:
            subscriber = bus.subscriber(Tick, capacity=1)
            await subscriber.attach()
            return subscriber

        full = await other.call(attach)
        publishing = asyncio.create_task(publisher.publish_many(ticks(5_000)))
        before = await stands_still(network.ledger)
        assert 0 < before < 5_000
        beside = await attached(other, Tick)
        got, late = await asyncio.gather(next_of(other, full, 5_000), next_of(other, beside, 5_000 - before))
        assert got == ticks(5_000)
        assert late == ticks(5_000)[before:]
        await publishing
        assert network.ledger().balanced
        for subscriber in (full, beside):
            await other.call(lambda _bus, subscriber=subscriber: subscriber.aclose())  # type: ignore[misc]


async def test_a_detached_reader_gets_the_frame_that_was_half_handled() -> None:
    async with threads() as (network, writer, other), writer.publisher(Tick) as publisher:

        async def attach(bus: Bus) -> Any:
            subscriber = bus.subscriber(Tick, capacity=1)
            await subscriber.attach()
            return subscriber

        async def detach_and_read(_bus: Bus) -> list[Tick]:
            async with asyncio.timeout(5):
                while subscriber.statistics().queued == 0:  # noqa: ASYNC110 - the frame comes from another thread
                    await asyncio.sleep(0)
            await subscriber.detach()
            return [tick async for tick in subscriber]

        subscriber = await other.call(attach)
        await publisher.publish_many(ticks(200))
        await publisher.flush()
        assert await other.call(detach_and_read) == ticks(200)
        assert network.ledger().balanced
        await other.call(lambda _bus: subscriber.aclose())


async def test_a_mailbox_with_two_interests_in_one_stream_leaves_with_both() -> None:
    async with threads() as (network, writer, other), writer.publisher(Tick) as publisher:

        async def attach(bus: Bus) -> Any:
            mailbox = bus.mailbox([interest(Tick, ">", "m.all"), interest(Tick, "test.*", "m.some")], "m")
            await mailbox.attach()
            return mailbox

        mailbox = await other.call(attach)
        await publisher.publish(Tick("a", 1))
        assert await next_of(other, mailbox, 2) == [Tick("a", 1)] * 2
        await other.call(lambda _bus: mailbox.detach())
        await publisher.publish(Tick("a", 2))
        await other.call(lambda _bus: mailbox.aclose())
        ledger = network.ledger()
        assert ledger.balanced, ledger.routes
        assert {route.subscription: route.published for route in ledger.routes} == {"m.all": 1, "m.some": 1}
