"""``mycelium doctor`` finds what was broken on purpose, and says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

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

[http]
ports = {{ broker = {3}, ponging = {4} }}

[[bundles]]
name = "pinging"
services = ["pinger"]

[[bundles]]
name = "ponging"
services = ["ponger"]
"""


@pytest.fixture
def system(small_system: SmallSystem) -> SmallSystem:
    small_system.topology.write_text(TOPOLOGY.format(*free_ports(5)))
    return small_system


@pytest.fixture
def started(system: SmallSystem) -> Iterator[Processes]:
    with processes(system.root) as found:
        found.config = system.topology
        yield found


def examine(system: SmallSystem, *arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Its exit code, and what it has found, by verdict."""
    done = subprocess.run(
        [sys.executable, "-m", "mycelium", "doctor", "--json", "--config", str(system.topology), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout)
    assert said["good"] == (done.returncode == 0)
    found: dict[str, list[dict[str, Any]]] = {"good": [], "note": [], "bad": []}
    for finding in said["findings"]:
        found[finding["verdict"]].append(finding)
    return done.returncode, found


def whats(findings: list[dict[str, Any]]) -> str:
    return "\n".join(finding["what"] for finding in findings)


def test_a_system_that_does_not_run_is_no_fault(system: SmallSystem) -> None:
    code, found = examine(system)
    assert code == 0
    assert "it does not run here: broker cannot be reached" in whats(found["note"])
    assert "broker does not answer at port" in whats(found["note"])


def test_a_system_that_runs_well_and_then_not(system: SmallSystem, started: Processes) -> None:
    broker = started.broker()
    ponging = started.mycelium("run", "--bundle", "ponging", "--config", system.topology)
    ponging.wait_for("ready")
    code, found = examine(system)
    assert (code, found["bad"]) == (0, [])
    good = whats(found["good"])
    for expected in ("everyone who is to read has joined", "the ledger balances", "ponging says at port"):
        assert expected in good
    assert ponging.end() == 0
    code, found = examine(system)
    assert code == 1
    assert "ponger.on_ping has not joined broker" in whats(found["bad"])
    assert "is bundle ponging running?" in found["bad"][0]["advice"]
    assert broker.end() == 0


def test_what_is_wrong_in_files_is_found_together(system: SmallSystem) -> None:
    system.change(system.contracts, "number: int\n\n\nclass Pong", "number: str\n\n\nclass Pong")
    system.change(system.topology, 'services = ["ponger"]', 'services = ["ponger", "nobody"]')
    code, found = examine(system)
    assert code == 1
    bad = whats(found["bad"])
    assert "contracts.Ping.fields" in bad
    assert "nobody" in bad


def test_a_topology_that_cannot_be_read(system: SmallSystem) -> None:
    system.topology.write_text("[deployment\n")
    code, found = examine(system)
    assert code == 1
    assert str(system.topology) in whats(found["bad"])


def test_a_disk_that_is_too_small(system: SmallSystem) -> None:
    system.change(system.topology, "[broker]\n", f"[broker]\njournal_bytes = {1 << 60}\n")
    code, found = examine(system)
    assert code == 1
    assert "journals may grow to 1073741824.0 GiB" in whats(found["bad"])


def test_too_few_open_files(system: SmallSystem) -> None:
    system.change(system.topology, "[broker]\n", "[broker]\nlimits.connections = 100000000\n")
    code, found = examine(system)
    assert code == 1
    assert "and a broker with all its connections needs 300,000,064" in whats(found["bad"])


def test_a_broker_that_is_open_to_the_world(system: SmallSystem) -> None:
    system.change(system.topology, "[broker]\n", '[broker]\nhost = "10.0.0.1"\n')
    system.topology.write_text(system.topology.read_text() + "\n[security]\ninsecure = true\n")
    code, found = examine(system, "--seconds", "0.2")
    assert "the broker at 10.0.0.1 asks nobody for a key" in whats(found["note"]), "it is meant, and worth knowing"
    assert code == 0


def test_a_token_that_others_can_read(system: SmallSystem) -> None:
    token = system.root / "config" / "token"
    token.write_text("x" * 40)
    token.chmod(0o644)
    system.change(system.topology, "[http]\n", '[http]\ntoken_file = "token"\n')
    code, found = examine(system)
    assert code == 1
    assert "can be read by others" in whats(found["bad"])


def test_a_collector_that_is_there_and_then_not(system: SmallSystem) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    system.topology.write_text(f'{system.topology.read_text()}\n[tracing]\nendpoint = "{endpoint}"\n')
    code, found = examine(system)
    server.shutdown()
    server.server_close()
    serving.join()
    assert code == 0
    assert f"the collector at {endpoint} can be reached" in whats(found["good"])
    code, found = examine(system)
    assert code == 1
    assert f"the collector at {endpoint}: Connection refused" in whats(found["bad"])


def test_a_process_that_says_that_it_is_not_ready(system: SmallSystem, started: Processes) -> None:
    # Without a broker it is not wired, and waits.
    ponging = started.mycelium("run", "--bundle", "ponging", "--config", system.topology)
    for _ in range(200):
        code, found = examine(system)
        if "ponging says at port" in whats(found["bad"]):
            break
        assert "ponging does not answer at port" in whats(found["note"]), "it has not begun yet"
    assert code == 1
    assert "that it is not ready" in whats(found["bad"])
    assert '"ponger":' in whats(found["bad"])
    ponging.end()


def test_it_is_shown_on_narrow_terminals(system: SmallSystem) -> None:
    process = Processes(system.root).start("mycelium", "doctor", "--config", system.topology, columns=48)
    assert process.wait() == 0, process.text
    process.close()
    assert all(len(line.rstrip("\n")) <= 48 for line in process.said)
    assert "✓ nothing is wrong" in process.text
