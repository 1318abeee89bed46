"""Many publishers or readers: ``python -m tests.processes.load ROLE SOCKETS FRAMES CONTROL PUBLISH ...``.

The other arguments are FIRST LAST LANES ALL: they have numbers, from FIRST to before LAST of ALL. SOCKETS is ``own``
if each has its own, as if it were a process of its own, or ``shared`` if they share those of the process, as services
in one process do. A publisher publishes on so many topics (lanes) of its own; a reader reads those of the publisher
with its number, and every twentieth reads everything.

``publish COUNT SIZE``: every publisher publishes so many messages on each of its topics; done when all are confirmed.
``read COUNT``: done when every reader has got so many, those that read everything COUNT times as many as publishers.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from mycelium import Bus, Network
from mycelium.bus.publisher import Publisher
from mycelium.bus.subscriber import Subscriber
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event
from tests.processes.publisher import say

EVERYTHING = 20


async def main(role: str, sockets: str, address: StoreAddress, first: int, last: int, lanes: int, total: int) -> None:
    def network() -> Network:
        return Network(fabric=Fabric(stores=(address,), close_seconds=5))

    shared = network()
    async with AsyncExitStack() as opened:
        publishers: list[tuple[str, Publisher[Event]]] = []
        readers: list[tuple[int, Subscriber[Event]]] = []
        for number in range(first, last):
            bus = Bus(f"{role}{number}", network=shared if sockets == "shared" else network())
            await opened.enter_async_context(bus)
            if role == "p":
                publishers.append((bus.name, await opened.enter_async_context(bus.publisher(Event))))
            else:
                pattern = "chaos.>" if number % EVERYTHING == 0 else f"chaos.p{number}.*"
                subscriber = bus.subscriber(Event, pattern, durable=bus.name)
                readers.append((number, await opened.enter_async_context(subscriber)))
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            count, *size = map(int, line.split()[1:])
            async with asyncio.TaskGroup() as group:
                for name, publisher in publishers:
                    group.create_task(publish(publisher, name, lanes, count, bytes(size[0])))
                for number, reader in readers:
                    group.create_task(read(reader, count * (total if number % EVERYTHING == 0 else 1)))
            say("done")


async def publish(publisher: Publisher[Event], name: str, lanes: int, count: int, filling: bytes) -> None:
    for number in range(count):
        await publisher.publish_many([Event(name, str(lane), number, filling) for lane in range(lanes)])
        await asyncio.sleep(0)
    await publisher.flush()


async def read(reader: Subscriber[Event], count: int) -> None:
    got = 0
    while got < count:
        await anext(reader)
        got += 1


if __name__ == "__main__":
    configure_logging(level="info", form=LogFormat.CONSOLE, stream=sys.stderr)
    role, sockets, *endpoints = sys.argv[1:6]
    numbers = [int(text) for text in sys.argv[6:]]
    first, last, lanes, total = numbers
    asyncio.run(main(role, sockets, StoreAddress("store", *endpoints), first, last, lanes, total))
