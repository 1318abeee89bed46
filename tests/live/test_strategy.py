"""The whole system on a chain that goes back and another way: its signals are those of the chain in the end."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.live.world import World
from tests.processes.running import Processes

pytestmark = [pytest.mark.node, pytest.mark.process, pytest.mark.timeout(200)]


def signals(directory: Path) -> list[dict[str, Any]]:
    """Without what names the branch."""
    found = [json.loads(line) for line in (directory / "signals.jsonl").read_text().splitlines()]
    for signal in found:
        del signal["signal_id"]
        signal.pop("branch", None)
    return found


def block_of(state: Path) -> int:
    """How far the adapter is, as it says itself at its end."""
    with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT max(number) FROM blocks").fetchone()[0])


def test_signals_are_those_of_the_final_chain(
    world: World, started: Processes, endpoints: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, replayed, state = started.directory / "live", started.directory / "replayed", started.directory / "s.sqlite"
    prefix = "MYCELIUM_SERVICES__"
    monkeypatch.setenv(f"{prefix}POLYGON_ADAPTER__LIVE__ENDPOINTS", json.dumps(endpoints))
    monkeypatch.setenv(f"{prefix}POLYGON_ADAPTER__LIVE__STATE", str(state))
    monkeypatch.setenv(f"{prefix}RUN_REPORT__DIRECTORY", str(live))
    monkeypatch.setenv(f"{prefix}DASHBOARD__PORT", str(free_ports(1)[0]))
    config = REPOSITORY / "config" / "demo-live.toml"
    system = started.mycelium("run", "--config", config, "--log-level", "debug", "--quiet")
    system.wait_for("begins")
    rng = random.Random(5)
    for number in range(30):
        last = world.trade()
        if number % 5 == 4:
            system.wait_for(f"published                      block={last} ")
            world.reorganise(rng, rng.randint(1, 5))
    head = world.head().number
    system.wait_for(f"published                      block={head} ")
    assert system.end() == 0, system.text
    assert block_of(state) == head
    assert "signals_void=0 " not in system.text, "signals were taken back, too"

    capture = started.directory / "final.jsonl.gz"
    done = started.start(
        "adapters.polygon", "capture", "--config", config, "--out", capture, "--from", 0, "--to", head,
        "--confirmations", 0,
    )  # fmt: skip
    assert done.wait() == 0, done.text
    environment = {
        f"{prefix}POLYGON_ADAPTER__SOURCE": str(capture),
        f"{prefix}RUN_REPORT__DIRECTORY": str(replayed),
        "PYTHONPATH": str(REPOSITORY),
    }
    without = {key: value for key, value in os.environ.items() if not key.startswith(prefix)}
    subprocess.run(
        [sys.executable, "-m", "mycelium", "run", "--config", REPOSITORY / "config" / "monolith.toml", "--quiet"],
        env=without | environment,
        check=True,
        timeout=100,
    )
    assert len(signals(replayed)) > 10
    assert signals(live) == signals(replayed)
