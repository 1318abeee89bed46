"""The adapter as a process, on a real node: what it publishes is what the chain says in the end."""

from __future__ import annotations

import asyncio
import random

import pytest

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, SwapEvent
from tests.live.system import Sum, System
from tests.live.world import World
from tests.processes.running import Processes

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(300)]


def test_what_happens_is_published(world: World, started: Processes, endpoints: list[dict[str, str]]) -> None:
    system = System(started, world, endpoints)

    async def run() -> None:
        async with Sum(system.address) as read:
            begun = world.head().number
            adapter = system.adapter()
            await asyncio.to_thread(adapter.wait_for, "begins")
            for _ in range(10):
                await asyncio.to_thread(world.trade)
            rng = random.Random(1)
            await read.reaches(begun + 10)
            await asyncio.to_thread(world.reorganise, rng, 3)
            await read.reaches(world.head().number)
            assert read.holding(SwapEvent) == world.swaps(begun + 1)
            read.assert_in_order()
            assert len(read.heard[PoolMetadata]) == len(world.pools)
            assert [one.block for one in read.heard[BlockRetracted]] == [begun + 8]
            first = read.heard[BlockClosed][0]
            assert first.syncs >= len(world.pools), "it begins with the states of all pools"
            await asyncio.to_thread(adapter.end)
            for _ in range(5):
                await asyncio.to_thread(world.trade)
            adapter = system.adapter()
            await read.reaches(world.head().number)
            assert read.holding(SwapEvent) == world.swaps(begun + 1)
            assert await asyncio.to_thread(adapter.end) == 0, adapter.text

    asyncio.run(run())
