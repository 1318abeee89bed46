"""A publishing process: ``python -m tests.chaos.publisher PLAN NAME``."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path

from mycelium import Bus, Network
from mycelium.journal import LmdbJournal
from mycelium.journal.outbox import Outbox
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric
from tests.chaos.messages import Event
from tests.chaos.plan import Plan
from tests.chaos.records import Counter

BATCH = 500
FILLING = b"x" * 60


async def main(plan: Plan, name: str) -> None:
    me = next(publisher for publisher in plan.publishers if publisher.name == name)
    progress = Counter(plan.progress(name))
    if plan.is_bundled:
        journal = partial(LmdbJournal, plan.directory / f"{name}.journal")
        fabric = Fabric(own=plan.own_store(name), journal=journal, close_seconds=120)
    else:
        outboxes = {name: partial(Outbox, plan.directory / f"{name}.outbox")} if me.outbox else {}
        fabric = Fabric(stores=(plan.store,), outboxes=outboxes, close_seconds=120, keys=plan.keys)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with Bus(name, network=Network(fabric=fabric)) as bus, bus.publisher(Event) as publisher:
        number = progress.value
        while number < me.count:
            batch = range(number + 1, min(number + BATCH, me.count) + 1)
            events = [Event(name, str(n % me.lanes), n, FILLING) for n in batch]
            if me.outbox and not plan.is_bundled:
                for event in events:
                    await publisher.publish(event)
                    progress.value = event.number
            else:
                await publisher.publish_many(events)
                await publisher.flush()
                progress.value = batch[-1]
            number = batch[-1]
            await asyncio.sleep(0)
        if plan.is_bundled:
            (plan.directory / f"{name}.published").touch()
            await stopping.wait()
    if bus.ledger().unconfirmed:
        sys.exit(f"{bus.ledger().unconfirmed} messages are unconfirmed")


if __name__ == "__main__":
    configure_logging(level="info", form=LogFormat.CONSOLE, stream=sys.stderr)
    asyncio.run(main(Plan.load(Path(sys.argv[1])), sys.argv[2]))
