"""Reads in a process of its own: ``python -m tests.processes.reader NAME FRAMES CONTROL PUBLISH``.

``block SECONDS`` holds the event loop up, as a handler that computes does; ``read COUNT`` says ``done`` and the number
of messages missed or not in order when it has got so many.
"""

from __future__ import annotations

import asyncio
import sys
import time

from mycelium import Bus, Network
from mycelium.bus.subscriber import Subscriber
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event
from tests.processes.publisher import say


async def main(name: str, frames: str, control: str, publish: str) -> None:
    fabric = Fabric(stores=(StoreAddress("store", frames, control, publish),), close_seconds=20)
    async with Bus(name, network=Network(fabric=fabric)) as bus, bus.subscriber(Event) as events:
        say("ready")
        last = 0
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, amount = line.split()
            if what == "block":
                say("blocked")
                time.sleep(float(amount))  # noqa: ASYNC251 - that is what it is told to do
                say("done")
            else:
                say(f"done {await wrong(events, last, int(amount))}")
                last += int(amount)


async def wrong(events: Subscriber[Event], last: int, count: int) -> int:
    found = 0
    for number in range(last + 1, last + count + 1):
        found += (await anext(events)).number != number
    return found


if __name__ == "__main__":
    configure_logging(level="info", form=LogFormat.CONSOLE, stream=sys.stderr)
    asyncio.run(main(*sys.argv[1:]))
