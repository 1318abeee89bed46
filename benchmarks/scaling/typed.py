"""The processes that use the fabric: ``python -m benchmarks.scaling.typed PART WIRING``.

The commands, to these and to those of :mod:`benchmarks.scaling.raw`; every answer is one line of JSON:

- ``publish COUNT``: every publisher publishes so many messages. Answers when the first left.
- ``read COUNT``: until every reader has so many. Answers how many came, how many were not in their place, and when.
- ``pace RATE COUNT``: publishes so many messages at a rate, in steps of a millisecond. Answers when it began and ended.
- ``ping SECONDS``: to and fro for so long. Answers quantiles of half the time, in µs.
- ``echo -``: answers each message with one, until one comes that says that there are no more.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice

import msgspec

from benchmarks.scaling.pings import LAST, STEP_SECONDS, WARM_UP_SECONDS, pings_told
from benchmarks.scaling.shapes import Part, Places, places
from mycelium import Bus, Network, Publisher, Subscriber
from mycelium.bench.messages import Sample
from mycelium.bench.roles import RUN, Answer, say
from mycelium.observe.logs import configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress


@dataclass(frozen=True, slots=True)
class TypedWiring:
    """How a process reaches the others.

    Args:
        stores: where it reads, and a broker where it publishes.
        own: its own store, where there is no broker.
    """

    stores: tuple[StoreAddress, ...] = ()
    own: StoreAddress | None = None


class TypedPart:
    """Publishers and readers of one process."""

    def __init__(self, part: Part, publishers: list[Publisher[Sample]], readers: list[Subscriber[Sample]]) -> None:
        self._part = part
        self._publishers = list(zip(part.publishers, publishers, strict=True))
        self._readers = [(reader.batches(), Places()) for reader in readers]
        self._reader = readers[0] if readers else None
        self._published = 0

    async def do(self, word: str, *rest: str) -> Answer:
        """Carry a command out."""
        if word == "publish":
            return await self._publish(int(rest[0]))
        if word == "read":
            return await self._read(int(rest[0]))
        if word == "pace":
            return await self._pace(int(rest[0]), int(rest[1]))
        return await (self._ping(float(rest[0])) if word == "ping" else self._echo())

    async def _publish(self, count: int) -> Answer:
        start = self._published
        self._published += count
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, publisher in self._publishers:
                group.create_task(self._publish_all(number, publisher, start, start + count))
        return {"started": started}

    async def _publish_all(self, number: int, publisher: Publisher[Sample], start: int, stop: int) -> None:
        source = places(number, self._part, start, stop)
        while some := [Sample(lane, place, place, place) for lane, place in islice(source, RUN)]:
            await publisher.publish_many(some)
            await asyncio.sleep(0)
        await publisher.flush()

    async def _read(self, count: int) -> Answer:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read_all(number, count)) for number in range(len(self._readers))]
        ended = time.monotonic()
        return {
            "received": sum(task.result() for task in tasks),
            "wrong": sum(seen.wrong for _, seen in self._readers),
            "ended": ended,
        }

    async def _read_all(self, number: int, count: int) -> int:
        batches, seen = self._readers[number]
        take, received = seen.take, 0
        while received < count:
            batch = await anext(batches)
            received += len(batch)
            for message in batch:
                take(message.lane, message.number)
        return received

    async def _pace(self, rate: int, count: int) -> Answer:
        ((number, publisher),) = self._publishers
        source = places(number, self._part, self._published, self._published + count)
        self._published += count
        started = due = time.monotonic()
        while some := [
            Sample(lane, place, place, place) for lane, place in islice(source, max(1, round(rate * STEP_SECONDS)))
        ]:
            await publisher.publish_many(some)
            due += len(some) / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        ended = time.monotonic()
        await publisher.flush()
        return {"started": started, "ended": ended}

    async def _ping(self, seconds: float) -> Answer:
        ((lane, publisher),) = self._publishers
        reader, now = self._reader, time.perf_counter_ns
        assert reader is not None
        took = []
        count_from = time.monotonic() + WARM_UP_SECONDS
        until = count_from + seconds
        while (at := time.monotonic()) < until:
            begun = now()
            await publisher.publish(Sample(lane, 0, 0, 0))
            await anext(reader)
            if at >= count_from:
                took.append(now() - begun)
        await publisher.publish(Sample(lane, LAST, 0, 0))
        return pings_told(took)

    async def _echo(self) -> Answer:
        ((lane, publisher),) = self._publishers
        reader = self._reader
        assert reader is not None
        async for message in reader:
            if message.number == LAST:
                break
            await publisher.publish(Sample(lane, 0, 0, 0))
        return {}


async def main(part: Part, wiring: TypedWiring) -> None:
    """Be such a process, until there are no more commands."""
    async with AsyncExitStack() as opened:

        async def bus(kind: str, number: int) -> Bus:
            network = Network(fabric=Fabric(stores=wiring.stores, own=wiring.own, close_seconds=5))
            return await opened.enter_async_context(Bus(f"{part.name}{kind}{number}", network=network))

        both = part.publishers == part.readers  # one service that does both has one bus
        buses = [await bus("", number) for number in part.publishers]
        reading = buses if both else [await bus("", number) for number in part.readers]
        publishers = [await opened.enter_async_context(one.publisher(Sample)) for one in buses]
        pattern = "bench.>" if part.reads is None else f"bench.{part.reads}"
        readers = [await opened.enter_async_context(one.subscriber(Sample, pattern)) for one in reading]
        end = TypedPart(part, publishers, readers)
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(json.dumps(await end.do(*line.split())))


if __name__ == "__main__":
    configure_logging(level="warning", stream=sys.stderr)  # what is answered stands on standard output
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Part), msgspec.json.decode(sys.argv[2], type=TypedWiring)))
