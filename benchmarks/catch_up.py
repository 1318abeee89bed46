"""A late durable reader catches up while others live: ``python -m benchmarks.catch_up`` (a part of ``make bench``).

Real processes: a broker, a publisher at a steady rate, a reader that measures how old messages are when it gets
them, and a durable reader that has missed much. What is compared is the live reader's p99 before and while the
late one catches up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mycelium import Bus, Network
from mycelium.bus.clock import SystemClock
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.books import read_books
from tests.chaos.controller import make_plan
from tests.chaos.messages import Event
from tests.chaos.plan import Plan

LANES = 8
STEP_SECONDS = 0.01
FILLING = b"x" * 60
REPOSITORY = Path(__file__).parents[1]


def _fabric(store: StoreAddress) -> Network:
    return Network(fabric=Fabric(stores=(store,), close_seconds=5))


async def publish(plan: Plan, backlog: int, rate: int) -> None:
    """The backlog as fast as it goes, then the rate until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    loop = asyncio.get_running_loop()
    async with Bus("p0", network=_fabric(plan.store)) as bus, bus.publisher(Event) as publisher:
        number = 0
        while number < backlog:
            await publisher.publish_many(Event("p0", str(n % LANES), n, FILLING) for n in range(number, number + 400))
            number += 400
            await asyncio.sleep(0)
        await publisher.flush()
        (plan.directory / "backlog").touch()
        due = loop.time()
        while not stopping.is_set():
            step = round(rate * STEP_SECONDS)
            await publisher.publish_many(Event("p0", str(n % LANES), n, FILLING) for n in range(number, number + step))
            number += step
            due = max(due + STEP_SECONDS, loop.time() - 1)
            await asyncio.sleep(max(0.0, due - loop.time()))


async def watch(plan: Plan) -> None:
    """Read live; with each SIGUSR1 say what the latencies were since the last one."""
    clock = SystemClock()
    histogram = LatencyHistogram()

    def tell() -> None:
        nonlocal histogram
        told, histogram = histogram, LatencyHistogram()
        figures = {f"p{name}": told.quantile(part) / 1e6 for name, part in (("50", 0.5), ("99", 0.99), ("999", 0.999))}
        print(json.dumps({"messages": told.count, **figures}), flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    async with Bus("watch", network=_fabric(plan.store)) as bus, bus.subscriber(Event, "chaos.>") as subscriber:
        print("ready", flush=True)
        async for batch in subscriber.delivery_batches():
            now = clock.time_ns()
            for delivery in batch:
                histogram.record(now - delivery.published)


async def late(plan: Plan, *, once: bool) -> None:
    """The durable reader. With ``once`` it comes, so that it is known, and leaves."""
    async with (
        Bus("late", network=_fabric(plan.store)) as bus,
        bus.subscriber(Event, "chaos.>", durable="late") as reader,
    ):
        if not once:
            async for _ in reader.batches():
                pass


def _wait_for_go() -> None:
    """The imports of a process take a core for half a second. That is not what is measured."""
    print("ready", flush=True)
    sys.stdin.readline()


def _start(plan: Plan, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.catch_up", "--plan", str(plan.directory / "plan.json"), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def _behind(store: StoreAddress) -> int:
    books = await read_books(store, 10.0)
    return sum(book.last - (book.readers["late"].cursor if "late" in book.readers else 0) for book in books.streams)


async def measure(backlog: int, rate: int, seconds: float) -> dict[str, object]:
    """The whole scene."""
    with tempfile.TemporaryDirectory() as directory:
        plan = make_plan(Path(directory), 0, with_keys=False)
        plan.save()
        config = str(plan.directory / "distributed.toml")
        broker = subprocess.Popen(
            [sys.executable, "-m", "mycelium", "broker", "-c", config, "--log-level", "error"], cwd=REPOSITORY
        )
        processes: list[subprocess.Popen[str]] = []
        try:
            _start(plan, "late-once").wait(60)
            publisher = _start(plan, "publish", "--backlog", str(backlog), "--rate", str(rate))
            processes.append(publisher)
            while not (plan.directory / "backlog").exists():
                await asyncio.sleep(0.05)
            watcher = _start(plan, "watch")
            processes.append(watcher)
            assert watcher.stdout is not None
            watcher.stdout.readline()
            await asyncio.sleep(1)

            def latencies() -> dict[str, float]:
                watcher.send_signal(signal.SIGUSR1)
                assert watcher.stdout is not None
                told: dict[str, float] = json.loads(watcher.stdout.readline())
                return told

            reader = _start(plan, "late")
            processes.append(reader)
            assert reader.stdout is not None
            assert reader.stdin is not None
            reader.stdout.readline()
            latencies()
            await asyncio.sleep(seconds)
            before = latencies()
            missed = await _behind(plan.store)
            began = time.monotonic()
            reader.stdin.write("go\n")
            reader.stdin.flush()
            while await _behind(plan.store) > rate:
                await asyncio.sleep(0.1)
            took = time.monotonic() - began
            during = latencies()
            return {"missed": missed, "seconds": round(took, 2), "before": before, "during": during,
                    "p99_ratio": round(during["p99"] / before["p99"], 2)}  # fmt: skip
        finally:
            for process in processes:
                process.kill()
                process.wait()
            broker.terminate()
            broker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catch_up", description=__doc__)
    parser.add_argument("role", nargs="?", choices=["publish", "watch", "late", "late-once"], help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--backlog", type=int, default=500_000, help="messages missed (default %(default)s)")
    parser.add_argument("--rate", type=int, default=20_000, help="messages a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured before (default %(default)s)")
    options = parser.parse_args()
    if options.role is None:
        print(json.dumps(asyncio.run(measure(options.backlog, options.rate, options.seconds)), indent=2))
        return
    plan = Plan.load(options.plan)
    configure_logging(level="warning", form=LogFormat.CONSOLE, stream=sys.stderr)
    match options.role:
        case "publish":
            asyncio.run(publish(plan, options.backlog, options.rate))
        case "watch":
            asyncio.run(watch(plan))
        case role:
            if role == "late":
                _wait_for_go()
            asyncio.run(late(plan, once=role == "late-once"))


if __name__ == "__main__":
    main()
