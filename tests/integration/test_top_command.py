"""``mycelium top --once`` against real systems, and what it says where it cannot look."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelium.topology.model import Mode
from mycelium.transport.ports import free_ports
from tests.processes.running import Processes, processes
from tests.systems import SmallSystem
from tests.unit.cli.test_values import is_harmless
from tests.watched import WatchedSystem

pytestmark = pytest.mark.process

TOKEN = "a-token-for-tests-and-nothing-else"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def once(started: Processes, system: WatchedSystem, *options: object) -> tuple[int, str]:
    process = started.mycelium("top", "--once", "--config", system.config, *options)
    return process.wait(), process.text


def tables(said: str) -> Any:
    return json.loads(said)["tables"]


def test_bundles(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.BUNDLED)
    running = system.bundles()
    code, said = once(started, system, "--json", "--wait", 30)
    assert code == 0, said
    found = tables(said)
    assert {row["process"]: row["state"] for row in found["processes"]} == dict.fromkeys(
        ("left", "right", "side"), "up"
    )
    (ping,) = [row for row in found["streams"] if row["contract"] == "Ping"]
    assert ping["service"] == "pinger"
    assert 5 < ping["published_per_s"] < 100
    readers = {row["subscription"]: row for row in found["subscriptions"]}
    assert set(readers) == {"ponger.on_ping", "ponger.on_pong", "onlooker.on_statistics"}
    assert 0 < readers["ponger.on_ping"]["p50_s"] <= readers["ponger.on_ping"]["p99_s"] < 10
    assert readers["ponger.on_ping"]["queue"].endswith("/1,024")
    assert found["drift"] == []
    assert all(row["missing"] == 0 for row in found["ledger"])
    assert "broker" not in found

    running["right"].process.kill()
    running["right"].wait()
    code, said = once(started, system, "--wait", 4)
    assert code == 0, said
    assert re.search(r"^right +✗ SILENT", said, re.MULTILINE)
    assert re.search(r"^ponger +✗ no process hosts it", said, re.MULTILINE)
    assert all(is_harmless(line) for line in said.splitlines())

    running["left"].close()
    running["side"].close()
    code, said = once(started, system, "--seconds", 0.5)
    assert code == 1
    assert re.fullmatch(r"error: .*: left has not answered in 0.5 s; is it running\?\n", said)


def test_a_broker(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.DISTRIBUTED)
    system.broker()
    code, said = once(started, system, "--wait", 1)
    assert code == 0, said
    assert re.search(r"^broker +up", said, re.MULTILINE)
    system.bundles()
    code, said = once(started, system, "--json", "--wait", 30)
    assert code == 0, said
    found = tables(said)
    assert [row["process"] for row in found["processes"]] == ["broker", "left", "right", "side"]
    figures = {row["figure"]: row["value"] for row in found["broker"]}
    assert figures["journal"] == "at work"
    assert int(figures["processes there"]) >= 4, "three, and this one"
    assert figures["journal, at most"] == "1GiB"


def test_a_monolith_by_way_of_metrics(small_system: SmallSystem, started: Processes) -> None:
    (port,) = free_ports(1)
    system = WatchedSystem(small_system, started, Mode.MONOLITH, f'[http]\nport = {port}\ntoken_file = "token"\n')
    token = system.config.with_name("token")
    token.write_text(TOKEN)
    token.chmod(0o600)
    code, said = once(started, system)
    assert code == 1
    assert f"http://127.0.0.1:{port}/metrics: monolith does not answer: " in said
    running = system.monolith()
    code, said = once(started, system, "--json", "--wait", 30)
    assert code == 0, said
    found = tables(said)
    (process,) = found["processes"]
    assert (process["process"], process["state"]) == ("monolith", "up")
    assert 5 < process["published_per_s"] < 200
    assert {row["service"]: row["ready"] for row in found["services"]} == dict.fromkeys(
        ("onlooker", "pinger", "ponger"), "ready"
    )
    assert found["drift"] == []
    token.write_text(TOKEN.upper())
    code, said = once(started, system)
    assert code == 1
    assert "monolith answers 401 " in said
    assert TOKEN.upper() not in said
    assert running.end() == 0


def test_what_is_wrong_is_a_sentence(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.MONOLITH)
    code, said = once(started, system)
    assert code == 2
    assert re.fullmatch(r"error: .*http\.port: is missing: in mode 'monolith' .* set \[http\] port\n", said)
    process = started.mycelium("top", "--config", system.config)
    assert process.wait() == 2
    assert process.text == "error: there is no terminal to draw on; --once prints one picture\n"
    process = started.mycelium("top", "--json", "--config", system.config)
    assert process.wait() == 2
    assert "add --once" in process.text
    process = started.mycelium("top", "--once", "--config", system.config.with_name("nix.toml"))
    assert process.wait() == 2


def test_ctrl_c_ends_the_waiting(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.DISTRIBUTED)
    system.broker()
    process = started.mycelium("top", "--once", "--wait", 300, "--config", system.config)
    begun = started.mycelium("top", "--once", "--json", "--wait", 2, "--config", system.config)
    assert begun.wait() == 0  # by now the first one waits, too
    assert process.process.poll() is None
    assert process.end(signal.SIGINT) == 130
