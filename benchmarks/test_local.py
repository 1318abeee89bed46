"""The local path: publish to handler inside one event loop, by reference.

It stands for every message of a monolith. Set-up and warm-up are outside the timed part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mycelium import Bus, Message, Publisher, Subscriber

MESSAGES = 200_000


class Tick(Message, type_id=1, topic="bench.{lane}"):
    """Four integers and a lane."""

    lane: str
    a: int
    b: int
    c: int
    d: int


SENT = [Tick("x", n, n, n, n) for n in range(MESSAGES)]


async def publish_one_by_one(publisher: Publisher[Tick]) -> None:
    for message in SENT:
        await publisher.publish(message)


async def publish_many(publisher: Publisher[Tick]) -> None:
    await publisher.publish_many(SENT)


async def read_one_by_one(subscriber: Subscriber[Tick]) -> None:
    left = MESSAGES
    async for _message in subscriber:
        left -= 1
        if not left:
            return


async def read_batches(subscriber: Subscriber[Tick]) -> None:
    left = MESSAGES
    async for batch in subscriber.batches():
        left -= len(batch)
        if not left:
            return


@pytest.mark.parametrize("publish", [publish_one_by_one, publish_many], ids=lambda function: function.__name__)
@pytest.mark.parametrize("read", [read_one_by_one, read_batches], ids=lambda function: function.__name__)
def test_publish_to_handler(
    benchmark: Any,
    publish: Callable[[Publisher[Tick]], Awaitable[None]],
    read: Callable[[Subscriber[Tick]], Awaitable[None]],
) -> None:
    """Throughput of one publisher and one reader with the default queue and policy."""
    with asyncio.Runner() as runner:
        bus = Bus("bench")
        runner.run(bus.__aenter__())

        async def open_ends() -> tuple[Publisher[Tick], Subscriber[Tick]]:
            subscriber = bus.subscriber(Tick)
            await subscriber.attach()
            return bus.publisher(Tick), subscriber

        publisher, subscriber = runner.run(open_ends())

        async def once() -> None:
            await asyncio.gather(read(subscriber), publish(publisher))

        benchmark.pedantic(lambda: runner.run(once()), rounds=5, warmup_rounds=1)

        async def close() -> None:
            await subscriber.aclose()
            await publisher.aclose()
            await bus.__aexit__(None, None, None)

        runner.run(close())
        assert bus.ledger().balanced
    report(benchmark)


def report(benchmark: Any) -> None:
    """Print messages per second, which is what the promise is made in."""
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        print(
            f"\n  {benchmark.name}: {MESSAGES / median / 1e6:.2f} M messages/s, {median / MESSAGES * 1e6:.2f} µs each"
        )
