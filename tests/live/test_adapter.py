"""The adapter as a process, on a real node: what it publishes is what the chain says in the end."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.polygon.record import Tools
from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, SwapEvent
from mycelium.transport.ports import free_ports
from tests.live.proxy import Proxy, Temper
from tests.live.system import Sum, System
from tests.live.world import World
from tests.processes.running import Processes

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(200)]


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
            # The block of that height may be of the branch before: the reorganisation may not have been heard of yet.
            await read.until(lambda: bool(read.heard[BlockRetracted]))
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


def reading(system: System, work: Callable[[Sum], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Sum(system.address) as read:
            await work(read)

    asyncio.run(run())


def test_a_pool_is_followed_from_the_block_in_which_it_is_created(
    world: World, started: Processes, endpoints: list[dict[str, str]]
) -> None:
    system = System(started, world, endpoints)

    async def work(read: Sum) -> None:
        adapter = system.adapter()
        await asyncio.to_thread(adapter.wait_for, "begins")
        await asyncio.to_thread(world.trade)
        pair, number = await asyncio.to_thread(world.create_pair, "quickswap", ("WBTC", "USDC"))
        await read.reaches(number)
        assert [swap.block for swap in read.holding(SwapEvent) if swap.pool == pair] == [number]
        described = [pool for pool in read.heard[PoolMetadata] if pool.pool == pair]
        assert [(pool.venue, pool.token0.symbol) for pool in described] == [("quickswap", "USDC")]
        assert read.heard[BlockClosed][-1].pools == len(world.pools) + 1
        # Killed and started again, it is still known; the settings do not name it.
        await asyncio.to_thread(adapter.close)
        again = system.adapter()
        await asyncio.to_thread(again.wait_for, "goes on")
        await asyncio.to_thread(world.trade)
        await read.reaches(number + 1)
        assert read.heard[BlockClosed][-1].pools == len(world.pools) + 1

    reading(system, work)


def test_with_confirmations_nothing_is_taken_back(
    world: World, started: Processes, endpoints: list[dict[str, str]]
) -> None:
    system = System(started, world, endpoints, "confirmations = 3")

    async def work(read: Sum) -> None:
        adapter = system.adapter()
        begun = int((await asyncio.to_thread(adapter.wait_for, "begins")).partition("block=")[2].split()[0])
        assert begun == world.head().number - 3
        rng = random.Random(3)
        for _ in range(5):
            for _ in range(4):
                await asyncio.to_thread(world.trade)
            await read.reaches(world.head().number - 3)
            await asyncio.to_thread(world.reorganise, rng, 3)
        head = world.head().number
        await read.reaches(head - 3)
        assert not read.heard[BlockRetracted]
        assert max(closed.block for closed in read.heard[BlockClosed]) == head - 3
        assert read.holding(SwapEvent) == [swap for swap in world.swaps(begun + 1) if swap.block <= head - 3]

    reading(system, work)


def ready(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def until_ready(port: int, wanted: bool) -> tuple[int, dict[str, Any]]:
    """Ask until it is ready, or is not any more; the answer."""
    deadline = time.monotonic() + 30
    while ((answer := ready(port))[0] == 200) is not wanted:
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def test_it_is_ready_when_it_has_reached_the_newest_block(world: World, started: Processes) -> None:
    """An endpoint that answers no question for logs keeps it from getting on."""

    async def run() -> None:
        proxy = Proxy(world.port, random.Random(1), Temper())
        await proxy.start()
        system = System(started, world, [proxy.entry], "answer_seconds = 1.0\nstale_seconds = 2.0")
        port = free_ports(1)[0]
        with started.config.open("a") as config:
            config.write(f"[http.ports]\nmarket = {port}\n")
        async with Sum(system.address) as read:
            adapter = system.adapter()
            await asyncio.to_thread(adapter.wait_for, "begins")
            await asyncio.to_thread(world.trade)
            await read.reaches(world.head().number)
            assert (await asyncio.to_thread(ready, port))[0] == 200
            proxy.deaf = True
            for _ in range(5):
                await asyncio.to_thread(world.trade)
            answer = await asyncio.to_thread(until_ready, port, False)
            assert answer[0] == 503
            assert "blocks to the newest" in answer[1]["not_ready"]["polygon_adapter"]
            proxy.deaf = False
            await read.reaches(world.head().number)
            await asyncio.to_thread(until_ready, port, True)
            # Endpoints that are gone: what it has may be old.
            await proxy.aclose()
            answer = await asyncio.to_thread(until_ready, port, False)
            assert "a new block: none has come for" in answer[1]["not_ready"]["polygon_adapter"]
            assert await asyncio.to_thread(adapter.end) == 0, adapter.text

    asyncio.run(run())


def test_a_chain_that_has_left_all_that_is_remembered(
    tools: Tools, world: World, started: Processes, endpoints: list[dict[str, str]]
) -> None:
    """It says so and ends: going on would be wrong. With another chain behind the same address, too."""
    system = System(started, world, endpoints, "remembered = 8")

    async def work(read: Sum) -> None:
        adapter = system.adapter()
        await asyncio.to_thread(adapter.wait_for, "begins")
        for _ in range(10):
            await asyncio.to_thread(world.trade)
        await read.reaches(world.head().number)
        assert await asyncio.to_thread(adapter.end) == 0
        await asyncio.to_thread(world.back, 10)
        for _ in range(11):
            await asyncio.to_thread(world.trade)
        again = system.adapter()
        assert await asyncio.to_thread(again.wait) == 1
        assert "Nothing that was published can be relied on: begin anew with another state file" in again.text
        assert "Traceback" not in again.text

    reading(system, work)


def test_what_a_user_may_get_wrong(world: World, started: Processes, endpoints: list[dict[str, str]]) -> None:
    system = System(started, world, endpoints)
    first = system.adapter()
    first.wait_for("begins")
    second = system.adapter()
    assert second.wait() == 2
    assert "another process has it open: does this adapter run already?" in second.text
    assert first.end() == 0
    text = started.config.read_text()
    started.config.write_text(text.replace("[services", "[services.polygon_adapter]\nchain_id = 1\n[services", 1))
    (started.directory / "cursor.sqlite").unlink()
    wrong = system.adapter()
    assert wrong.wait() == 1
    assert "chain_id: is 1, the endpoints are of chain" in wrong.text
    assert '"0x89"' in wrong.text
    for process in (first, second, wrong):
        assert "Traceback" not in process.text
