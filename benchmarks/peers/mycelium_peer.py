"""Mycelium through its broker, which writes every message to its journal.

Settings:

- The broker as ``mycelium broker`` starts it, with its defaults: journaling, durability ``process``. Nobody else here
  keeps anything, and nobody has to: it stays on since nobody runs ours without.
- ``many``: ``publish_many`` of 1,024 and ``batches()``. ``one``: ``publish`` and ``async for``, message by message.
- A publisher that only publishes gives the event loop a turn after each batch, or each 256 messages, as a service
  that waits for something does by itself. At the end ``flush``: everything is confirmed.
- tcp on loopback, as everyone.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks.peers.message import BATCH, Four, four
from benchmarks.peers.roles import Tally, serve_publishing_async
from mycelium import Bus, Fabric, Network, StoreAddress
from mycelium.observe.logs import LogFormat, configure_logging

TURN = 256
"""Messages published one by one between two turns of the event loop."""


def _network(frames: str, control: str, publish: str) -> Network:
    return Network(fabric=Fabric(stores=(StoreAddress("broker", frames, control, publish),), close_seconds=5))


async def publish(variant: str, *address: str) -> None:
    """In batches, or one by one."""
    async with Bus("publisher", network=_network(*address)) as bus, bus.publisher(Four) as publisher:

        async def send_many(numbers: range) -> None:
            for start in range(numbers.start, numbers.stop, BATCH):
                stop = min(start + BATCH, numbers.stop)
                await publisher.publish_many([four(number) for number in range(start, stop)])
                await asyncio.sleep(0)
            await publisher.flush()

        async def send_one(numbers: range) -> None:
            put = publisher.publish
            for number in numbers:
                await put(four(number))
                if number % TURN == 0:
                    await asyncio.sleep(0)
            await publisher.flush()

        await serve_publishing_async(send_many if variant == "many" else send_one)


async def read(variant: str, *address: str) -> None:
    """In batches, or one by one."""
    tally = Tally()
    async with Bus("reader", network=_network(*address)) as bus, bus.subscriber(Four) as subscriber:
        tally.serve()
        if variant == "many":
            async for batch in subscriber.batches():
                tally.take_all([message.number for message in batch])
        else:
            take = tally.take
            async for message in subscriber:
                take(message.number)


if __name__ == "__main__":
    # Standard output is for the controller.
    configure_logging(level="warning", form=LogFormat.CONSOLE, stream=sys.stderr)
    role, *arguments = sys.argv[1:]
    asyncio.run(publish(*arguments) if role == "publish" else read(*arguments))
