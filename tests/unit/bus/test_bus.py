"""The typed API's edges: names, patterns, closing, numbering. What it promises is in the conformance suite."""

from __future__ import annotations

import threading
from typing import assert_type

import pytest

from mycelium import (
    Bus,
    ClosedError,
    ContractError,
    Message,
    Network,
    PathError,
    Publisher,
    QueuePolicy,
    Subscriber,
    TopicError,
    WouldBlock,
)
from mycelium.testing import ManualClock
from mycelium.testing.conformance import Tick, Tock, ticks
from mycelium.transport import exchange


async def test_types_flow() -> None:
    async with Bus("b") as bus, bus.publisher(Tick) as publisher, bus.subscriber(Tick) as subscriber:
        assert_type(publisher, Publisher[Tick])
        assert_type(subscriber, Subscriber[Tick])
        await publisher.publish(Tick("a", 1))
        assert_type(await anext(subscriber), Tick)


async def test_a_bus_is_used_inside_its_context() -> None:
    bus = Bus("b")
    with pytest.raises(ClosedError, match="bus b"):
        bus.publisher(Tick)
    async with bus:
        publisher = bus.publisher(Tick)
        await publisher.aclose()
        await publisher.aclose()
    with pytest.raises(ClosedError):
        bus.subscriber(Tick)
    with pytest.raises(ClosedError, match="publisher of Tick is closed"):
        await publisher.publish(Tick("a", 1))


def test_a_name_is_a_topic_segment() -> None:
    with pytest.raises(TopicError):
        Bus("Not A Name")


async def test_a_subscription_must_be_possible() -> None:
    async with Bus("b") as bus:
        with pytest.raises(ContractError, match=r"Tick travels on test\.{lane}: no such topic matches 'other\.\*'"):
            bus.subscriber(Tick, "other.*")
        with pytest.raises(TopicError):
            bus.subscriber(Tick, "test.>.x")
        with pytest.raises(ValueError, match="capacity 0"):
            bus.subscriber(Tick, capacity=0)
        with pytest.raises(ValueError, match="never"):
            bus.subscriber(Tick, policy="never")
        assert bus.subscriber(Tick, policy="latest").statistics().capacity == 1024
        with pytest.raises(ContractError, match="Message has no type_id"):
            bus.publisher(Message)


async def test_a_publisher_that_was_not_closed_is_reported() -> None:
    async with Bus("b") as bus:
        publisher = bus.publisher(Tick)
        forgotten = [publisher]
        del publisher
        with pytest.warns(ResourceWarning, match="publisher of Tick was not closed"):
            forgotten.clear()


async def test_two_publishers_of_a_class_continue_one_numbering() -> None:
    async with Bus("b") as bus, bus.subscriber(Tick) as reader:
        async with bus.publisher(Tick) as first, bus.publisher(Tick) as second:
            await first.publish(Tick("a", 1))
            await second.publish(Tick("a", 2))
            assert (first.statistics().published, first.statistics().streams) == (2, 1)
        deliveries = reader.deliveries()
        assert [(await anext(deliveries)).sequence for _ in range(2)] == [1, 2]


async def test_a_new_incarnation_has_a_later_epoch_even_if_the_clock_stands_still() -> None:
    network, clock = Network(), ManualClock()
    epochs = []
    async with Bus("reader", network=network, clock=clock) as other, other.subscriber(Tick) as reader:
        for _ in range(3):
            async with Bus("writer", network=network, clock=clock) as bus, bus.publisher(Tick) as publisher:
                await publisher.publish(Tick("a", 1))
        deliveries = reader.deliveries()
        epochs = [(await anext(deliveries)).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))


async def test_publish_nowait_serves_all_or_nobody() -> None:
    async with (
        Bus("b") as bus,
        bus.publisher(Tick) as publisher,
        bus.subscriber(Tick, name="roomy") as roomy,
        bus.subscriber(Tick, capacity=1, name="small") as small,
    ):
        publisher.publish_nowait(Tick("a", 1))
        with pytest.raises(WouldBlock):
            publisher.publish_nowait(Tick("a", 2))
        assert roomy.receive_nowait() == small.receive_nowait() == Tick("a", 1)
        with pytest.raises(WouldBlock, match="no message waits"):
            roomy.receive_nowait()
        publisher.publish_nowait(Tick("a", 3))
        assert (roomy.statistics().delivered, roomy.statistics().queued) == (1, 1)


async def test_publishing_another_class_is_refused_with_its_value() -> None:
    async with Bus("b") as bus, bus.publisher(Tick) as publisher:
        with pytest.raises(ContractError, match=r"takes Tick, got Tock\(lane='a', text='x'\)"):
            await publisher.publish(Tock("a", "x"))  # type: ignore[arg-type]
        with pytest.raises(ContractError, match="segment 'No!'"):
            publisher.publish_nowait(Tick("No!", 1))


async def test_a_publisher_that_ends_with_an_error_does_not_wait() -> None:
    async with Bus("b") as bus:
        with pytest.raises(KeyError):
            async with bus.publisher(Tick):
                raise KeyError


async def test_a_mailbox_keeps_the_order_over_classes() -> None:
    from mycelium.bus.bus import interest

    async with (
        Bus("b") as bus,
        bus.publisher(Tick) as tick,
        bus.publisher(Tock) as tock,
        bus.mailbox([interest(Tick, name="m.tick"), interest(Tock, name="m.tock")], "m") as mailbox,
    ):
        for number in range(3):
            await tock.publish(Tock("b", str(number)))
            await tick.publish(Tick("a", number))
        got = [mailbox.receive_nowait() for _ in range(6)]
        assert [type(message).__name__ for message in got] == ["Tock", "Tick"] * 3
        assert {route.subscription for route in bus.ledger().routes} == {"m.tick", "m.tock"}


async def test_books_of_closed_subscriptions_with_one_name_add_up() -> None:
    async with Bus("b") as bus, bus.publisher(Tick) as publisher:
        for _ in range(3):
            async with bus.subscriber(Tick, policy=QueuePolicy.BLOCK) as reader:
                await publisher.publish_many(ticks(2))
                reader.receive_nowait()
        (entry,) = bus.ledger().routes
    assert (entry.published, entry.delivered, dict(entry.dropped)) == (6, 3, {"subscription closed": 3})


async def test_a_thread_whose_loop_is_blocked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ANSWER_TIMEOUT", 0.05)
    network, blocked, release = Network(), threading.Event(), threading.Event()

    def other() -> None:
        import asyncio

        async def live() -> None:
            async with Bus("other", network=network):
                blocked.set()
                release.wait()

        asyncio.run(live())

    thread = threading.Thread(target=other)
    thread.start()
    async with Bus("b", network=network) as bus:
        import asyncio

        await asyncio.to_thread(blocked.wait)
        reader = bus.subscriber(Tick)
        with pytest.raises(PathError, match=r"has not answered in 0\.05 s"):
            await reader.attach()
        release.set()
        await asyncio.to_thread(thread.join)
        await reader.aclose()
