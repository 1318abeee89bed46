"""What somebody sees who is on the wire between a service and the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mycelium import Bus, Network
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event
from tests.processes.running import Processes, processes
from tests.security.services import Tick
from tests.security.system import SERVICES, start_secured

pytestmark = [pytest.mark.process]

SECRET = "a-venue-that-nobody-may-see"
MESSAGES = 500


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def wiretap(endpoint: str, seen: bytearray) -> AsyncIterator[str]:
    """A way to an endpoint on which somebody writes down everything, in both directions."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                seen.extend(data)
                writer.write(data)
                await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(port))
        for pair in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(copy(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def overheard(fabric: Fabric) -> bytes:
    """All bytes that pass when a feeder publishes and a trader reads."""
    seen = bytearray()
    address = fabric.stores[0]
    async with (
        asyncio.timeout(60),
        wiretap(address.frames, seen) as frames,
        wiretap(address.control, seen) as control,
        wiretap(str(address.publish), seen) as publish,
    ):
        tapped = replace(fabric, stores=(StoreAddress("broker", frames, control, publish),))
        async with (
            Bus("trader", network=Network(fabric=tapped)) as there,
            there.subscriber(Tick) as ticks,
            Bus("feeder", network=Network(fabric=tapped)) as here,
            here.publisher(Tick) as publisher,
        ):
            await publisher.publish_many(Tick(SECRET, number) for number in range(MESSAGES))
            await publisher.flush()
            for number in range(MESSAGES):
                assert await anext(ticks) == Tick(SECRET, number)
    return bytes(seen)


async def test_nothing_of_a_message_can_be_read_on_the_wire(started: Processes) -> None:
    at = await asyncio.to_thread(start_secured, started)
    seen = await overheard(await asyncio.to_thread(at.fabric))
    assert len(seen) > MESSAGES * len(SECRET) // 100, "it was this wire"
    for part in (SECRET, "ticks.", "trader.", *SERVICES):
        assert part.encode() not in seen


async def test_without_keys_everything_can_be_read(started: Processes) -> None:
    """So that the test above can fail."""
    address = await asyncio.to_thread(started.configure)
    broker = await asyncio.to_thread(started.start, "mycelium", "broker", "--config", started.config)
    await asyncio.to_thread(broker.wait_for, "ready")

    seen = bytearray()
    async with (
        wiretap(str(address.publish), seen) as publish,
        Bus("feeder", network=Network(fabric=Fabric(stores=(replace(address, publish=publish),)))) as bus,
        bus.publisher(Event) as publisher,
    ):
        await publisher.publish(Event("feeder", "0", 1, SECRET.encode()))
        await publisher.flush()
    assert SECRET.encode() in seen
