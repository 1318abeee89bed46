"""What the ends do when they are told to, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mycelium.bench.messages import Sample
from mycelium.bench.roles import RUN, TypedEnd
from mycelium.bus.bus import Bus


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[TypedEnd, TypedEnd]]:
    async with (
        Bus("ends") as bus,
        bus.publisher(Sample) as publisher,
        bus.subscriber(Sample, "bench.1") as nears,
        bus.subscriber(Sample, "bench.0") as fars,
    ):
        yield TypedEnd(0, publisher, nears), TypedEnd(1, publisher, fars)


@pytest.mark.parametrize("publish", ["many", "one"])
@pytest.mark.parametrize("read", ["batches", "steps"])
@pytest.mark.parametrize("count", [1, RUN + 1])
async def test_all_that_is_published_is_read(publish: str, read: str, count: int) -> None:
    async with ends() as (near, far):
        for _ in range(2):
            sent, got = await asyncio.gather(near.do("publish", publish, str(count)), far.do("read", read, str(count)))
            assert (got["received"], got["last"]) == (count, count - 1)
            assert sent["started"] < got["ended"]


async def test_both_in_one() -> None:
    async with (
        Bus("both") as bus,
        bus.publisher(Sample) as publisher,
        bus.subscriber(Sample, "bench.0") as subscriber,
    ):
        done = await TypedEnd(0, publisher, subscriber).do("both", "-", "3000")
    assert (done["received"], done["last"]) == (3_000, 2_999)
    assert done["started"] < done["ended"]


async def test_there_and_back() -> None:
    async with ends() as (near, far):
        pinged, echoed = await asyncio.gather(near.do("ping", "20"), far.do("echo", "20"))
    assert 0 < pinged["p50_us"] <= pinged["p99_us"]
    assert echoed == {"received": 20}
