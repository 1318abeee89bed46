"""How long a trade takes from its block being mined to its SwapEvent at a reader in another process.

A real node, a broker and the adapter, each a process of its own on this host; one block after the other, each when the
one before has arrived. What is measured begins before the node is told to mine, so mining is in it.

    python -m benchmarks.live --blocks 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
from pathlib import Path

from adapters.polygon.decode import V2_SWAP, V3_SWAP
from adapters.polygon.record import Tools
from adapters.polygon.record.node import Node
from contracts.market import BlockClosed, SwapEvent
from mycelium.observe.latency import LatencyHistogram
from tests.conftest import REPOSITORY
from tests.live.system import Sum, System
from tests.live.world import World
from tests.processes.running import processes

STATISTICS = re.compile(r"(\w+)=(\d+)\b")


async def measure(world: World, system: System, blocks: int) -> dict[str, float]:
    mined, all_of_it = LatencyHistogram(), LatencyHistogram()
    async with Sum(system.address) as read:
        adapter = system.adapter()
        await asyncio.to_thread(adapter.wait_for, "begins")
        await asyncio.to_thread(world.trade)
        await read.reaches(world.head().number)
        for _ in range(blocks):
            before = len(read.heard[SwapEvent])
            came: list[int] = []
            number, begun, ended = await asyncio.to_thread(world.mine)

            def is_there(before: int = before, number: int = number, came: list[int] = came) -> bool:
                now = time.monotonic_ns()
                came += [now] * (len(read.heard[SwapEvent]) - before - len(came))
                closed = read.heard[BlockClosed]
                return bool(closed) and closed[-1].block == number and len(came) >= closed[-1].swaps

            await read.until(is_there)
            # Only now: the node and we take time from those who are measured.
            await asyncio.to_thread(world.settle, number)
            assert len(came) == sum(log.topics[0] in (V2_SWAP, V3_SWAP) for log in world.logs(number))
            for at in came:
                all_of_it.record(at - begun)
                mined.record(at - ended)
        await asyncio.to_thread(adapter.end)
    figures = dict(STATISTICS.findall(next(line for line in adapter.said if "publish_p99_ns" in line)))
    return {
        "blocks": blocks,
        "trades": mined.count,
        "mined_to_received_p50_ms": round(mined.quantile(0.5) / 1e6, 2),
        "mined_to_received_p99_ms": round(mined.quantile(0.99) / 1e6, 2),
        "with_mining_p99_ms": round(all_of_it.quantile(0.99) / 1e6, 2),
        "head_to_published_p99_ms": round(int(figures["publish_p99_ns"]) / 1e6, 2),
        "own_p50_ms": round(int(figures["own_p50_ns"]) / 1e6, 2),
        "own_p99_ms": round(int(figures["own_p99_ns"]) / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200)
    blocks = parser.parse_args().blocks
    tools = Tools.find(REPOSITORY / "build" / "node-tools")
    with (
        tempfile.TemporaryDirectory() as directory,
        processes(Path(directory)) as started,
        Node(tools.anvil, keeps_states=True) as node,
    ):
        world = World(node, tools, 1)
        address = f"127.0.0.1:{world.port}"
        system = System(started, world, [{"url": f"http://{address}", "websocket": f"ws://{address}"}])
        print(json.dumps(asyncio.run(measure(world, system, blocks)), indent=2))


if __name__ == "__main__":
    main()
