"""What the conformance suite does not reach of the queues."""

from __future__ import annotations

import asyncio

import pytest

from mycelium.bus.bus import Bus
from mycelium.testing.conformance import Tick, ticks


async def test_a_place_that_is_given_while_its_publisher_is_being_cancelled_is_kept() -> None:
    async with Bus("b") as bus, bus.publisher(Tick) as publisher, bus.subscriber(Tick, capacity=1) as reader:
        await publisher.publish(Tick("a", 0))
        task = asyncio.create_task(publisher.publish(Tick("a", 1)))
        await asyncio.sleep(0)
        task.cancel()
        assert reader.receive_nowait().number == 0  # makes room before the cancelled task runs
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reader.receive_nowait().number == 1
        assert bus.ledger().balanced
        assert not bus.ledger().dropped


async def test_nobody_overtakes_a_publisher_that_waits_for_two_readers() -> None:
    async with (
        Bus("b") as bus,
        bus.publisher(Tick) as publisher,
        bus.subscriber(Tick, capacity=1, name="one") as one,
        bus.subscriber(Tick, capacity=1, name="two") as two,
    ):
        await publisher.publish(Tick("a", 0))
        tasks = [asyncio.create_task(publisher.publish(Tick("a", n))) for n in (1, 2)]
        await asyncio.sleep(0)
        # Room at the second reader first: what waits there must still come in order.
        assert [two.receive_nowait().number for _ in range(3)] == [0, 1, 2]
        assert [one.receive_nowait().number for _ in range(3)] == [0, 1, 2]
        await asyncio.gather(*tasks)


async def test_a_second_task_cannot_read_the_same_subscription() -> None:
    async with Bus("b") as bus, bus.subscriber(Tick) as reader:
        first = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already being read by another task"):
            await anext(reader)
        first.cancel()
        await asyncio.wait([first])


async def test_a_batch_takes_no_more_than_its_limit_and_makes_room() -> None:
    async with Bus("b") as bus, bus.publisher(Tick) as publisher, bus.subscriber(Tick, capacity=4) as reader:
        task = asyncio.create_task(publisher.publish_many(ticks(6)))
        batches = reader.batches(limit=3)
        assert [tick.number for tick in await anext(batches)] == [0, 1, 2]
        assert [tick.number for tick in await anext(batches)] == [3, 4, 5]
        await task
        await batches.aclose()  # type: ignore[attr-defined]
