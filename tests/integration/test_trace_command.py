"""``mycelium trace``: what a running broker keeps of causes and effects, also while no collector is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.processes.running import Processes, processes
from tests.systems import SmallSystem

pytestmark = pytest.mark.process

TOPOLOGY = """
[deployment]
mode = "distributed"
state_dir = "state"

[broker]
publish_port = {0}
frames_port = {1}
control_port = {2}

[[bundles]]
name = "pinging"
services = ["pinger"]

[[bundles]]
name = "ponging"
services = ["ponger"]

[tracing]
endpoint = "http://127.0.0.1:{3}"
ratio = 0.0
per_second = 1000

[[tracing.topics]]
pattern = "ping.>"
ratio = {ratio}

[services.pinger]
how_many = 5
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def trace(system: SmallSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mycelium", "trace", *arguments, "--config", str(system.topology)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(system: SmallSystem, started: Processes, ratio: float) -> None:
    """Let everything be said once."""
    system.topology.write_text(TOPOLOGY.format(*free_ports(4), ratio=ratio))
    started.config = system.topology
    started.broker()
    ponging = started.mycelium("run", "--bundle", "ponging", "--config", system.topology)
    ponging.wait_for("ready")
    pinging = started.mycelium("run", "--bundle", "pinging", "--config", system.topology)
    assert pinging.wait() == 0, pinging.text
    assert ponging.end() == 0, ponging.text
    assert "Traceback" not in pinging.text + ponging.text, "that no collector is there is no fault of theirs"


def test_causes_and_effects(small_system: SmallSystem, started: Processes) -> None:
    run(small_system, started, 1.0)
    shown = trace(small_system, "ping.a@pinger#3")
    assert shown.returncode == 0, shown.stderr
    first, asked, effect = shown.stdout.splitlines()
    assert re.fullmatch(r"trace [0-9a-f]{32}", first)
    assert "+0.000 ms ping.a pinger#3 Ping ◀ asked for lane=a number=2" in asked
    assert re.search(r"└── \+[\d.]+ ms pong.a ponger#3 Pong lane=a number=2 note=", effect)

    said = trace(small_system, "pong.a@ponger#3", "--json")
    assert said.returncode == 0, said.stderr
    cause, message = (json.loads(line) for line in said.stdout.splitlines())
    assert (cause["role"], message["role"]) == ("cause", "asked")
    assert message["cause"] == cause["id"]
    assert message["trace_id"] == cause["trace_id"] == first.split()[1]
    assert message["fields"] == {"lane": "a", "number": 2, "note": ""}
    # An id is what the command takes, as it was said.
    again = trace(small_system, message["id"], "--json")
    assert again.stdout == said.stdout


def test_a_message_that_was_not_traced_is_shown_and_said_to_be(small_system: SmallSystem, started: Processes) -> None:
    run(small_system, started, 0.0)
    shown = trace(small_system, "pong.a@ponger#3")
    assert shown.returncode == 0
    assert "pong.a ponger#3 Pong ◀ asked for lane=a number=2" in shown.stdout
    assert "it was not traced: neither its cause nor what came of it is known" in shown.stdout


def test_what_is_not_there_is_said(small_system: SmallSystem, started: Processes) -> None:
    run(small_system, started, 1.0)
    missing = trace(small_system, "ping.a@pinger#6")
    assert missing.returncode == 1
    assert "ping.a@pinger#6 is not among the 10 messages that are kept" in missing.stderr
    assert missing.stdout == ""


@pytest.mark.parametrize("text", ["ping.a", "ping.a@pinger", "ping.a@pinger.1.0", "Ping.a@pinger.1.1"])
def test_what_is_no_id_is_refused(small_system: SmallSystem, text: str) -> None:
    refused = trace(small_system, text)
    assert refused.returncode == 2
    assert "is no message id" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_a_store_there_is_nothing_to_ask(small_system: SmallSystem) -> None:
    refused = trace(small_system, "ping.a@pinger#1")
    assert refused.returncode == 2
    assert "deployment.mode" in refused.stderr


def test_a_store_that_does_not_answer(small_system: SmallSystem) -> None:
    small_system.topology.write_text(TOPOLOGY.format(*free_ports(4), ratio=1.0))
    refused = trace(small_system, "ping.a@pinger#1", "--seconds", "0.5")
    assert refused.returncode == 1
    assert "broker has not answered in 0.5 s" in refused.stderr
