"""Nothing is missing and nothing comes twice, whatever endpoints do, the chain does, and whoever kills the adapter.

CI runs a short form. ``make live`` runs the whole: 10,000 trades in 500 blocks, 20 reorganisations, three kills.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack, suppress

import pytest

from contracts.market import BlockClosed, BlockRetracted, SwapEvent
from mycelium.core.message import Message
from tests.live.proxy import Proxy, Temper
from tests.live.system import Sum, System
from tests.live.world import World
from tests.processes.running import Processes

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(1_500)]

WHOLE = os.environ.get("LIVE", "") == "whole"
BLOCKS, REORGANISATIONS, KILLS, ROUNDS = (500, 20, 3, 4) if WHOLE else (50, 5, 2, 2)
"""``ROUNDS``: ordinary blocks whose trades go into one."""

SEED = int(os.environ.get("SEED", "7"))

TEMPERS = (
    Temper(faults=0.15, lies=0.05, breaks=0.05, largest_range=40),
    Temper(faults=0.3, lag=1, breaks=0.1, largest_range=100),
    Temper(faults=0.15, lag=3, lies=0.1),
    Temper(faults=0.25, breaks=0.05, largest_range=7),
)


def test_whatever_fails_the_stream_is_the_chain(world: World, started: Processes) -> None:
    asyncio.run(run(world, started))


async def run(world: World, started: Processes) -> None:
    rng = random.Random(SEED)
    async with AsyncExitStack() as stack:
        proxies = [
            Proxy(world.port, random.Random(SEED + place), temper, with_websocket=place != 3)
            for place, temper in enumerate(TEMPERS)
        ]
        for proxy in proxies:
            await proxy.start()
            stack.push_async_callback(proxy.aclose)
        system = System(
            started,
            world,
            [proxy.entry for proxy in proxies],
            "answer_seconds = 1.0\nstale_seconds = 3.0\npoll_seconds = 0.2",
        )
        read = await stack.enter_async_context(Sum(system.address))
        adapter = system.adapter()
        line = await asyncio.to_thread(adapter.wait_for, "begins")
        begun = int(line.partition("block=")[2].split()[0])
        reorganise = set(rng.sample(range(8, BLOCKS), REORGANISATIONS))
        kill = set(rng.sample(range(5, BLOCKS), KILLS))
        depths = []
        for number in range(BLOCKS):
            await asyncio.to_thread(world.trade, ROUNDS)
            if number in kill:
                await asyncio.to_thread(adapter.end, signal.SIGKILL)
                adapter = system.adapter()
            if number in reorganise:
                if rng.random() < 0.8:  # else it may not have seen what goes
                    await read.reaches(world.head().number)
                depths.append(rng.randint(1, 6))
                await asyncio.to_thread(world.reorganise, rng, depths[-1], ROUNDS)
        head = world.head().number
        # The rest of the way, endpoints are as bad as before.
        await read.reaches(head, 300 if WHOLE else 120)
        # A block of that height may be of the branch before: the last reorganisation may not have been heard of yet.
        wanted = world.swaps(begun + 1)
        with suppress(TimeoutError):  # then the difference is shown
            await read.until(lambda: read.holding(SwapEvent) == wanted, 60)
        swaps = read.holding(SwapEvent)
        assert swaps == wanted
        if WHOLE:
            assert len(swaps) >= 10_000
        assert [closed.block for closed in read.holding(BlockClosed)][-1] == head
        read.assert_in_order()
        assert_branches(read.heard[BlockRetracted])
        assert await asyncio.to_thread(adapter.end) == 0, adapter.text
        assert "Traceback" not in adapter.text
        void = sum(read.is_void(swap) for swap in read.heard[SwapEvent])
        assert len({one.branch for one in read.heard[BlockRetracted]}) > KILLS + REORGANISATIONS // 2
        assert void > 0
        print(  # noqa: T201 - the figures of a run
            f"{len(swaps):,} trades in {head - begun} blocks, {len(depths)} reorganisations of depths {depths}, "
            f"{KILLS} kills: {len(read.heard[BlockRetracted])} retractions, {void:,} trades taken back; endpoints: "
            + "; ".join(str(dict(sorted(proxy.counted.items()))) for proxy in proxies)
        )
        for proxy in proxies:
            assert proxy.counted["answered"] > 20
            assert len(proxy.counted) > 5, "it has failed in many ways"


def assert_branches(retracted: list[Message]) -> None:
    """Each branch begins with a retraction, which may be said again, but not otherwise."""
    numbers: dict[int, int] = {}
    for one in retracted:
        assert isinstance(one, BlockRetracted)
        assert numbers.setdefault(one.branch, one.block) == one.block
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
