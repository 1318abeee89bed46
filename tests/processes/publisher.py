"""Publishes what it is told to on its standard input: ``python -m tests.processes.publisher NAME FRAMES CONTROL ...``.

The arguments are its name, the store's endpoints (PUBLISH is ``-`` where the process is the store itself), the
directory of its outbox and that of its own journal (``-`` for none, ``memory`` for one in memory).

- ``publish FIRST COUNT SIZE`` publishes numbers from FIRST on; done when ``publish`` has returned for all.
- ``each FIRST COUNT SIZE`` does the same, each in a frame of its own.
- ``fill FIRST SIZE`` goes on until one has to wait; gives that up, and says its number.
- ``flush``: done when ``flush`` has returned.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from mycelium import Bus, Network
from mycelium.bus.publisher import Publisher
from mycelium.journal import LmdbJournal, MemoryJournal
from mycelium.journal.outbox import Outbox
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(name: str, frames: str, control: str, publish: str, outbox: str, own: str) -> None:
    address = StoreAddress("store", frames, control, None if publish == "-" else publish)
    if own == "-":
        outboxes = {} if outbox == "-" else {name: partial(Outbox, Path(outbox))}
        fabric = Fabric(stores=(address,), outboxes=outboxes, close_seconds=20)
    else:
        journal = MemoryJournal if own == "memory" else partial(LmdbJournal, Path(own))
        fabric = Fabric(own=address, journal=journal, close_seconds=20)
    async with Bus(name, network=Network(fabric=fabric)) as bus, bus.publisher(Event) as publisher:
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(f"done {await _do(publisher, name, *line.split())}")


async def _do(publisher: Publisher[Event], name: str, what: str, *numbers: str) -> int:
    number = 0
    if what == "flush":
        await publisher.flush()
    elif what == "publish":
        first, count, size = map(int, numbers)
        for number in range(first, first + count):
            await publisher.publish(Event(name, "0", number, bytes(size)))
    elif what == "each":
        first, count, size = map(int, numbers)
        for number in range(first, first + count):
            await publisher.publish(Event(name, "0", number, bytes(size)))
            await asyncio.sleep(0)
    elif what == "fill":
        number, size = map(int, numbers)
        while True:
            publishing = asyncio.ensure_future(publisher.publish(Event(name, "0", number, bytes(size))))
            await asyncio.sleep(0)
            if publishing.cancel():
                break
            number += 1
    else:
        raise SystemExit(f"{what!r} is not known")
    return number


if __name__ == "__main__":
    configure_logging(level="info", form=LogFormat.CONSOLE, stream=sys.stderr)
    asyncio.run(main(*sys.argv[1:]))
