"""``python -m adapters.polygon capture``: what is recorded is what the node says, whoever interrupts it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from adapters.polygon.capture import CaptureReader, Entry
from tests.live.proxy import Proxy, Temper
from tests.live.system import write_topology
from tests.live.world import World
from tests.processes.running import Processes, Running

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(200)]


def capture(started: Processes, out: Path, *arguments: object) -> Running:
    return started.start(
        "adapters.polygon", "capture", "--config", started.config, "--out", out, "--confirmations", 0, *arguments
    )


def assert_is_the_chain(path: Path, world: World, last: int) -> None:
    with CaptureReader(path) as reader:
        assert set(reader.header.pools) == set(world.pools)
        found = [reading.log for reading in reader if isinstance(reading, Entry)]
    assert found == [log for log in world.logs() if log.block <= last]


@pytest.mark.parametrize(
    ("name", "how"), [("capture.jsonl.gz", signal.SIGKILL), ("capture.jsonl", signal.SIGINT)], ids=["killed", "Ctrl-C"]
)
def test_a_range_is_recorded_and_gone_on_with(world: World, started: Processes, name: str, how: signal.Signals) -> None:
    for _ in range(20):
        world.trade()
    last = world.head().number
    out, note = started.directory / name, started.directory / f"{name}.partial.json"

    async def run() -> None:
        proxy = Proxy(world.port, random.Random(1), Temper(faults=0.1, largest_range=3), with_websocket=False)
        await proxy.start()
        try:
            write_topology(started, world, [proxy.entry], "answer_seconds = 1.0")
            # The last block is not there yet: it waits for it, with everything before it recorded.
            process = capture(started, out, "--from", 0, "--to", last + 1)
            async with asyncio.timeout(60):
                while not note.exists() or json.loads(note.read_text())["next"] <= last:
                    assert process.process.poll() is None, process.text
                    await asyncio.sleep(0.02)
            code = await asyncio.to_thread(process.end, how)
            assert code == (130 if how is signal.SIGINT else -9), process.text
            assert not out.exists()
            world.trade()
            with out.with_name(f"{name}.partial").open("ab") as half:
                half.write(b"what was half written when it was killed")
            again = capture(started, out, "--from", 0, "--to", last + 1)
            assert await asyncio.to_thread(again.wait) == 0, again.text
            assert f"logs of {len(world.pools)} pools in blocks 0 to {last + 1}" in again.text
            third = capture(started, out, "--from", 0, "--to", last + 1)
            assert await asyncio.to_thread(third.wait) == 2
            assert "is there already; move it away" in third.text
        finally:
            await proxy.aclose()

    asyncio.run(run())
    assert_is_the_chain(out, world, last + 1)
    assert not note.exists()


def test_what_comes_is_recorded_until_ctrl_c(world: World, started: Processes, endpoints: list[dict[str, str]]) -> None:
    write_topology(started, world, endpoints)
    out = started.directory / "live.jsonl.gz"
    first = world.trade()
    process = capture(started, out)
    note = started.directory / "live.jsonl.gz.partial.json"

    async def run() -> None:
        async with asyncio.timeout(60):
            while not note.exists() or json.loads(note.read_text())["next"] < first + 6:
                assert process.process.poll() is None, process.text
                if note.exists():
                    await asyncio.to_thread(world.trade)
                await asyncio.sleep(0.02)

    asyncio.run(run())
    assert process.end(signal.SIGINT) == 0, process.text
    with CaptureReader(out) as reader:
        found = [reading.log for reading in reader if isinstance(reading, Entry)]
    assert found == [log for log in world.logs(first) if log.block <= found[-1].block]
    assert found[-1].block >= first + 5


def test_what_a_user_may_get_wrong(world: World, started: Processes, endpoints: list[dict[str, str]]) -> None:
    write_topology(started, world, endpoints)
    out = started.directory / "x.jsonl"
    for arguments, said in (
        (("--from", 7, "--to", 5), "5 comes before --from 7"),
        (("--from", -1), "'--from'"),
        (("--config", started.directory / "none.toml"), "none.toml"),
    ):
        process = capture(started, out, *arguments)
        assert process.wait() == 2
        assert said in " ".join(process.text.split())
        assert "Traceback" not in process.text
    started.config.write_text(started.config.read_text().replace('state = "cursor', 'chain = 1\nstate = "cursor'))
    process = capture(started, out, "--from", 0, "--to", 1)
    assert process.wait() == 2
    assert "services.polygon_adapter.live.chain" in process.text
