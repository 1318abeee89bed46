"""The manual clock moves only when told to, and wakes sleepers in order, each at its time."""

from __future__ import annotations

import asyncio

from mycelium import Bus
from mycelium.testing import ManualClock
from mycelium.testing.conformance import Tick


async def test_sleepers_wake_in_order_each_at_its_time() -> None:
    clock = ManualClock(start_ns=0)
    woken: list[tuple[str, int]] = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.sleep(pause)
            woken.append((name, clock.time_ns()))

    tasks = [
        asyncio.create_task(sleeper("a", 2, 2)),
        asyncio.create_task(sleeper("b", 3)),
        asyncio.create_task(sleeper("c", 0)),
    ]
    await asyncio.sleep(0)
    await clock.advance(1.5)
    assert woken == [("c", 0)]
    await clock.advance(2.5)
    assert woken == [("c", 0), ("a", 2_000_000_000), ("b", 3_000_000_000), ("a", 4_000_000_000)]
    assert clock.time_ns() == 4_000_000_000
    await asyncio.gather(*tasks)


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await clock.advance(2)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_publish_times_come_from_the_clock() -> None:
    clock = ManualClock(start_ns=5)
    async with Bus("b", clock=clock) as bus, bus.publisher(Tick) as publisher, bus.subscriber(Tick) as reader:
        await clock.advance(1)
        await publisher.publish(Tick("a", 1))
        delivery = await anext(reader.deliveries())
    assert (delivery.epoch, delivery.published) == (5, 1_000_000_005)
