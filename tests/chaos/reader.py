"""A reading process: ``python -m tests.chaos.reader PLAN NAME``. It ends with SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from mycelium import Bus, Network
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event
from tests.chaos.plan import Plan
from tests.chaos.records import Bits, Seen

SLOW = 100


async def main(plan: Plan, name: str) -> None:
    me = next(reader for reader in plan.readers if reader.name == name)
    seen = Seen(plan.seen(me))
    audits = {p.name: Bits(plan.audit(p.name), p.count).map for p in plan.publishers} if me.audits else {}
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    own = StoreAddress(name, f"ipc://{plan.directory}/{name}.frames", f"ipc://{plan.directory}/{name}.control")
    own_store = own if plan.is_bundled else None
    fabric = Fabric(stores=plan.stores, own=own_store, close_seconds=20, ready_seconds=1, keys=plan.keys)
    async with Bus(me.service, network=Network(fabric=fabric)) as bus:
        subscriber = bus.subscriber(
            Event,
            me.pattern,
            capacity=16_384,
            name=me.account,
            start="earliest",
            durable=me.durable,
            group=me.group,
            finish_within=5.0,
        )
        async with subscriber:
            (plan.directory / f"{name}.ready").touch()

            async def read() -> None:
                async for batch in subscriber.delivery_batches(limit=16_384 if me.thinks else 256):
                    began = time.monotonic()
                    await asyncio.sleep(me.thinks)
                    for event in seen.handle(batch):
                        if event.publisher in audits:
                            audits[event.publisher][event.number] = 1
                    while me.slow and not plan.published_flag.exists() and not stopping.is_set():
                        # A hundred times as long as the rest of us need for as much.
                        if time.monotonic() - began > SLOW * len(batch) * 20e-6:
                            break
                        await asyncio.sleep(0.01)

            reading = asyncio.create_task(read())
            ending = asyncio.create_task(stopping.wait())
            await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, ending):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


if __name__ == "__main__":
    configure_logging(level="info", form=LogFormat.CONSOLE, stream=sys.stderr)
    asyncio.run(main(Plan.load(Path(sys.argv[1])), sys.argv[2]))
