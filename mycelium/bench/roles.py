"""The processes that publish and read while it is measured: ``python -m mycelium.bench.roles ROLE SETTINGS``.

They are spoken to as :mod:`mycelium.bench.processes` says. The commands, each with a number of messages:

- ``publish HOW COUNT``: ``many`` at a time, or ``one``. Answers when the first was sent.
- ``read HOW COUNT``: in ``batches``, or in ``steps`` of one. Answers how many came, and when the last did.
- ``both HOW COUNT``: publishes many and reads batches, in one event loop.
- ``ping COUNT`` and ``echo COUNT``: there and back, a message at a time. Ping answers the latency of one way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from mycelium.bench.messages import Sample
from mycelium.bench.statistics import half_round_trips
from mycelium.bus.bus import Bus
from mycelium.bus.publisher import Publisher
from mycelium.bus.subscriber import Subscriber
from mycelium.observe.logs import configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.exchange import Network
from mycelium.transport.floor import RawEnd, RawProxy
from mycelium.transport.keyring import Keyring

RUN = 1024
"""Messages that are published at a time, as a service does that has read a block or a batch."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TypedSettings:
    """Of an end that uses the fabric.

    Args:
        name: of the service instance.
        lane: what it publishes on.
        reads: what it reads: the other one's lane, or its own.
        stores: where it reads, and a broker where it publishes.
        own: its own store, where there is no broker.
        coalesce: whether a frame may carry several messages.
        keys: the directory of its keys, for a broker that asks for them.
    """

    name: str
    lane: int
    reads: int
    stores: tuple[StoreAddress, ...] = ()
    own: StoreAddress | None = None
    coalesce: bool = True
    keys: str | None = None


@dataclass(frozen=True, slots=True)
class RawSettings:
    """Of an end that uses ZeroMQ. The arguments are those of :class:`~mycelium.transport.floor.RawEnd`."""

    name: str
    peer: str
    sends: str
    receives: str
    binds: bool


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Of a proxy. The arguments are those of :class:`~mycelium.transport.floor.RawProxy`."""

    front: str
    back: str


class TypedEnd:
    """Publishes and reads typed messages."""

    def __init__(self, lane: int, publisher: Publisher[Sample], subscriber: Subscriber[Sample]) -> None:
        self._lane = lane
        self._publisher = publisher
        self._subscriber = subscriber
        self._batches = subscriber.batches()

    async def do(self, word: str, *rest: str) -> Answer:
        """Carry a command out."""
        how, count = rest[0], int(rest[-1])
        if word == "publish":
            return await self._publish(how, count)
        if word == "read":
            return await self._read(how, count)
        if word == "both":
            reading = asyncio.ensure_future(self._read("batches", count))
            return {**await self._publish("many", count), **await reading}
        if word == "ping":
            return await self._ping(count)
        return await self._echo(count)

    async def _publish(self, how: str, count: int) -> Answer:
        lane, publisher = self._lane, self._publisher
        started = time.monotonic()
        if how == "many":
            for first in range(0, count, RUN):
                await publisher.publish_many([Sample(lane, n, n, n) for n in range(first, min(first + RUN, count))])
                await asyncio.sleep(0)
        else:
            for n in range(count):
                await publisher.publish(Sample(lane, n, n, n))
        await publisher.flush()
        return {"started": started}

    async def _read(self, how: str, count: int) -> Answer:
        received, last = 0, -1
        if how == "batches":
            while received < count:
                batch = await anext(self._batches)
                received += len(batch)
                last = batch[-1].number
        else:
            async for message in self._subscriber:
                received += 1
                if received == count:
                    last = message.number
                    break
        ended = time.monotonic()
        return {"received": received, "last": last, "ended": ended}

    async def _ping(self, count: int) -> Answer:
        lane, publisher, subscriber, now = self._lane, self._publisher, self._subscriber, time.perf_counter_ns
        took = []
        for n in range(count):
            begun = now()
            await publisher.publish(Sample(lane, n, n, n))
            await anext(subscriber)
            took.append(now() - begun)
        return asdict(half_round_trips(took))

    async def _echo(self, count: int) -> Answer:
        lane, publisher, subscriber = self._lane, self._publisher, self._subscriber
        for _ in range(count):
            message = await anext(subscriber)
            await publisher.publish(Sample(lane, message.number, message.first, message.second))
        return {"received": count}


async def typed(settings: TypedSettings) -> None:
    """Be an end that uses the fabric, until there are no more commands."""
    async with (
        Bus(settings.name, network=Network(fabric=_fabric(settings))) as bus,
        bus.publisher(Sample) as publisher,
        bus.subscriber(Sample, f"bench.{settings.reads}") as subscriber,
    ):
        end = TypedEnd(settings.lane, publisher, subscriber)
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(json.dumps(await end.do(*line.split())))


def _fabric(settings: TypedSettings) -> Fabric | None:
    if not settings.stores:
        return None
    keys = None
    if settings.keys is not None:
        credentials = Keyring(Path(settings.keys)).credentials(settings.name, time.time())
        keys = {settings.name: credentials}.__getitem__
    return Fabric(stores=settings.stores, own=settings.own, coalesce=settings.coalesce, keys=keys)


def raw(settings: RawSettings) -> None:
    """Be an end that uses ZeroMQ, until there are no more commands."""
    end = RawEnd(settings.name, settings.peer, settings.sends, settings.receives, binds=settings.binds)
    try:
        end.wait_wired()
        say("ready")
        for line in _commands():
            say(json.dumps(_do_raw(end, *line.split())))
    finally:
        end.close()


def _do_raw(end: RawEnd, word: str, *rest: str) -> Answer:
    count = int(rest[-1])
    if word == "publish":
        return {"started": end.send(count)}
    if word == "read":
        received, ended = end.receive(count)
        return {"received": received, "last": received - 1, "ended": ended}
    if word == "ping":
        return asdict(half_round_trips(end.ping(count)))
    return {"received": end.echo(count)}


def _commands() -> Iterator[str]:
    while line := sys.stdin.readline():
        yield line


def proxy(settings: ProxySettings) -> None:
    """Be a proxy, until a signal comes."""
    made = RawProxy(settings.front, settings.back)
    say("ready")
    made.run()


def say(line: str) -> None:
    """Write a line to whoever has started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(role: str, settings: str) -> None:
    """Take a role: ``typed``, ``raw`` or ``proxy``."""
    configure_logging(level="warning", stream=sys.stderr)  # what is answered stands on standard output
    if role == "typed":
        asyncio.run(typed(msgspec.json.decode(settings, type=TypedSettings)))
    elif role == "raw":
        raw(msgspec.json.decode(settings, type=RawSettings))
    else:
        proxy(msgspec.json.decode(settings, type=ProxySettings))


if __name__ == "__main__":
    main(*sys.argv[1:])
