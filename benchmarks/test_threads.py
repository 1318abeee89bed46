"""The inproc path: from a publisher in one thread to a reader in another, over ZeroMQ.

It stands for a process that gives a service which computes a thread of its own. Both share Python's lock, so this is
what the path costs and not what two cores could do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from benchmarks.test_local import (
    SENT,
    Tick,
    publish_many,
    publish_one_by_one,
    read_batches,
    read_one_by_one,
    report,
)
from mycelium import Bus, Network, Publisher, Subscriber
from mycelium.testing.paths import OtherThread


@pytest.mark.parametrize(
    ("publish", "read"),
    [(publish_one_by_one, read_one_by_one), (publish_many, read_batches)],
    ids=["one_by_one", "many"],
)
def test_publish_to_another_thread(
    benchmark: Any,
    publish: Callable[[Publisher[Tick]], Awaitable[None]],
    read: Callable[[Subscriber[Tick]], Awaitable[None]],
) -> None:
    """Throughput of one publisher and one reader with the default queue and policy."""

    async def attach(bus: Bus) -> Subscriber[Tick]:
        subscriber = bus.subscriber(Tick)
        await subscriber.attach()
        return subscriber

    with asyncio.Runner() as runner:
        network = Network()
        bus, other = Bus("bench", network=network), OtherThread(network)
        runner.run(bus.__aenter__())
        runner.run(other.start())
        subscriber: Subscriber[Tick] = runner.run(other.call(attach))
        publisher = bus.publisher(Tick)

        async def once() -> None:
            await asyncio.gather(other.call(lambda _bus: read(subscriber)), publish(publisher))

        benchmark.pedantic(lambda: runner.run(once()), rounds=5, warmup_rounds=1)

        async def close() -> None:
            await publisher.aclose()
            await other.call(lambda _bus: subscriber.aclose())
            await other.stop()
            await bus.__aexit__(None, None, None)

        runner.run(close())
        assert bus.ledger().balanced
        assert sum(bus.ledger().published.values()) % len(SENT) == 0
    report(benchmark)
