"""The adapter as a process, on a real node: what it publishes is what the chain says in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.polygon.record import MissingToolError, Tools
from adapters.polygon.record.node import Node
from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, SwapEvent
from tests.conftest import REPOSITORY
from tests.live.system import Sum, System
from tests.live.world import World
from tests.processes.running import Processes, processes

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def world(tools: Tools) -> Iterator[World]:
    with Node(tools.anvil, keeps_states=True) as node:
        yield World(node, tools, 1)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def direct(world: World) -> list[dict[str, str]]:
    address = f"127.0.0.1:{world.port}"
    return [{"url": f"http://{address}", "websocket": f"ws://{address}"}]


def test_what_happens_is_published(world: World, started: Processes) -> None:
    system = System(started, world, direct(world))

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
