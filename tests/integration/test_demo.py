"""`mycelium demo` as a user starts it: one table for all processes, failures by name, signals, and no process left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.systems import SmallSystem

pytestmark = pytest.mark.process

BUNDLES = """
[[bundles]]
name = "questions"
services = ["pinger"]

[[bundles]]
name = "answers"
services = ["ponger"]

[broker]
"""


def spread(system: SmallSystem, mode: str) -> Path:
    """The small system's topology in another mode."""
    system.change(system.topology, '[[bundles]]\nname = "all"\nservices = ["pinger", "ponger"]\n', BUNDLES)
    system.change(system.topology, '"monolith"', f'"{mode}"')
    return system.topology


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mycelium", "demo", *map(str, arguments)]


def demo(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["monolith", "bundled", "distributed"])
def test_every_mode_ends_by_itself_with_one_table_and_one_summary(small_system: SmallSystem, mode: str) -> None:
    config = small_system.topology if mode == "monolith" else spread(small_system, mode)
    summary = small_system.root / "made" / "summary.json"
    result = demo("--config", config, "--mode", mode, "--summary", summary)
    assert result.returncode == 0, result.stderr
    assert "✓ the ledger balances" in result.stdout
    assert result.stdout.count("ponger.on_ping") == 1
    figures = json.loads(summary.read_text())
    assert (figures["events"], figures["signals"]) == (25, 25)
    assert figures["published"] == {"Ping": 25, "Pong": 25}
    assert figures["ledger"]["subscriptions"]["ponger.on_ping"] == {
        "published": 25,
        "delivered": 25,
        "dropped": 0,
        "queued": 0,
    }
    assert set(figures["services"]) == {"pinger", "ponger"}
    assert "Traceback" not in result.stderr
    assert "\x1b[" not in result.stdout + result.stderr


def test_lines_have_the_name_of_their_process(small_system: SmallSystem) -> None:
    result = demo("--config", spread(small_system, "distributed"), "--quiet")
    assert result.returncode == 0, result.stderr
    assert not result.stdout
    names = {re.split(r" +\| ", line)[0] for line in result.stderr.splitlines()}
    assert names == {"questions", "answers", "broker"}


def test_a_bundle_that_fails_ends_the_others_and_is_named(small_system: SmallSystem) -> None:
    small_system.change(
        small_system.services, "for number in range", "raise OSError('no cable')\n        for number in range"
    )
    result = demo("--config", spread(small_system, "bundled"))
    assert result.returncode == 1
    assert "questions failed with exit code 1: service pinger failed: OSError: no cable" in result.stderr.splitlines()


def test_a_mistake_in_the_settings_is_told_once_before_anything_starts(small_system: SmallSystem) -> None:
    small_system.change(small_system.topology, "how_many = 25", 'how_many = "x"')
    result = demo("--config", spread(small_system, "bundled"))
    assert result.returncode == 2
    assert result.stderr.count("services.pinger.how_many = 'x'") == 1
    assert " | " not in result.stderr


def test_a_mode_that_is_not_the_topologys_is_refused(small_system: SmallSystem) -> None:
    result = demo("--config", small_system.topology, "--mode", "bundled", environment={"COLUMNS": "200"})
    assert result.returncode == 2
    assert "all.toml is of mode 'monolith'" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_drains_all_and_loses_nothing(small_system: SmallSystem, number: signal.Signals, code: int) -> None:
    small_system.change(small_system.topology, "how_many = 25", "how_many = 1_000_000_000")
    summary = small_system.root / "summary.json"
    process = subprocess.Popen(
        command("--config", spread(small_system, "bundled"), "--summary", summary),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    ready = 0
    for line in process.stderr:
        ready += "ready" in line
        if ready == 2:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    figures = json.loads(summary.read_text())
    assert figures["published"]["Ping"] == figures["published"]["Pong"] > 0
    assert (figures["ledger"]["balanced"], figures["ledger"]["dropped"], figures["drained"]) == (True, {}, True)
