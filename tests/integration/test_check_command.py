"""``mycelium check`` while a system runs, and while parts of it do not."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import read_books
from mycelium.transport.ports import free_ports
from mycelium.transport.reachability import look_at
from tests.conftest import REPOSITORY
from tests.processes.running import Processes, Running, processes
from tests.systems import SmallSystem

pytestmark = pytest.mark.process

BUNDLES = '[[bundles]]\nname = "first"\nservices = ["pinger"]\n[[bundles]]\nname = "second"\nservices = ["ponger"]\n'


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def system(small_system: SmallSystem, started: Processes) -> SmallSystem:
    """Two bundles; the publisher waits for its reader, publishes, and stays."""
    small_system.change(
        small_system.services,
        "self.progress(number + 1",
        "await self.stopping.wait()\n            self.progress(number + 1",
    )
    return small_system


def bundled(system: SmallSystem) -> None:
    system.topology.write_text(
        f'[deployment]\nmode = "bundled"\n[inter_bundle]\nsocket_dir = "{system.root}"\n{BUNDLES}'
    )


def distributed(system: SmallSystem) -> list[int]:
    """Frames, control, publish."""
    frames, control, publish = ports = free_ports(3)
    system.topology.write_text(
        f'[deployment]\nmode = "distributed"\nstate_dir = "state"\n{BUNDLES}'
        f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n"
    )
    return ports


def run(started: Processes, system: SmallSystem, *bundles: str) -> list[Running]:
    running = [started.mycelium("run", "-q", "-c", system.topology, "--bundle", bundle) for bundle in bundles]
    for process in running:
        process.wait_for("ready")
    return running


def check(started: Processes, system: SmallSystem, *options: object) -> tuple[int, str]:
    """Its exit code, and what it shows."""
    process = started.mycelium("check", "-c", system.topology, *options)
    return process.wait(), process.text


def checked(
    started: Processes, system: SmallSystem, *options: object
) -> tuple[int, dict[str, str | None], dict[str, Any]]:
    """The exit code, what is wrong with each port, and who has joined where."""
    code, shown = check(started, system, "--json", "--seconds", 1.5, *options)
    found = json.loads(shown)
    assert found["good"] == (code == 0)
    ports = {f"{at['store']} {at['kind']}": at["problem"] for at in found["endpoints"]}
    return (
        code,
        ports,
        {f"{wire['reader']} of {wire['bundle']} at {wire['store']}": wire["joined"] for wire in found["readers"]},
    )


def test_all_bundles_are_up(started: Processes, system: SmallSystem) -> None:
    bundled(system)
    run(started, system, "first", "second")
    code, ports, readers = checked(started, system)
    assert ports == dict.fromkeys(["first control", "first frames", "second control", "second frames"])
    assert readers == {"ponger.on_ping of second at first": True}
    assert code == 0
    code, shown = check(started, system)
    assert code == 0
    assert "✗" not in shown
    assert "✓ all is well" in shown


def test_a_bundle_is_not_there(started: Processes, system: SmallSystem) -> None:
    bundled(system)
    system.change(system.topology, "[deployment]\n", "[deployment]\nready_seconds = 0.1\n")
    run(started, system, "first")
    code, ports, readers = checked(started, system)
    assert code == 1
    missing = "no such file: its process has not started on this host, or with another socket_dir"
    assert ports == {"first control": None, "first frames": None, "second control": missing, "second frames": missing}
    assert readers == {"ponger.on_ping of second at first": False}
    (second,) = run(started, system, "second")
    second.end(signal.SIGKILL)
    code, ports, _ = checked(started, system)
    refused = "refused: nobody listens there"
    assert (code, ports["second control"], ports["second frames"]) == (1, refused, refused)


def test_all_is_up_with_a_broker(started: Processes, system: SmallSystem) -> None:
    distributed(system)
    broker = started.mycelium("broker", "-c", system.topology)
    broker.wait_for("ready")
    running = run(started, system, "second", "first")
    code, ports, readers = checked(started, system)
    assert ports == dict.fromkeys(["broker control", "broker frames", "broker publish"])
    assert readers == {"ponger.on_ping of second at broker": True}
    assert code == 0
    running[0].end()
    code, _, readers = checked(started, system)
    assert (code, readers) == (1, {"ponger.on_ping of second at broker": False})


def test_it_leaves_nothing_behind(started: Processes) -> None:
    address = started.configure()
    broker = started.broker()
    before = asyncio.run(read_books(address, 10))
    for _ in range(3):
        seen = asyncio.run(look_at(address, 5))
        assert [found.problem for found in seen.endpoints] == [None] * 3
        assert seen.readers == frozenset()
    assert asyncio.run(read_books(address, 10)) == before
    assert broker.end() == 0
    assert "refused={}" in broker.text
    assert "warning" not in broker.text


@pytest.mark.parametrize("kind", ["frames", "control", "publish"])
def test_something_else_listens(started: Processes, system: SmallSystem, kind: str) -> None:
    """The broker is up, and one of its ports leads elsewhere."""
    ports = distributed(system)
    broker = started.mycelium("broker", "-c", system.topology)
    broker.wait_for("ready")
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = ports[["frames", "control", "publish"].index(kind)]
        system.change(system.topology, f"{kind}_port = {number}", f"{kind}_port = {other.getsockname()[1]}")
        code, found, readers = checked(started, system)
    assert code == 1
    wrong = {name for name, problem in found.items() if problem is not None}
    # The frames can only be tried by asking for something on the control port.
    assert wrong == ({"broker control", "broker frames"} if kind == "control" else {f"broker {kind}"})
    problem = found[f"broker {kind}"]
    assert problem is not None
    assert "something listens there and does not answer as it should" in problem
    assert readers == {"ponger.on_ping of second at broker": None if kind == "control" else False}


def test_a_broker_that_is_stopped(started: Processes) -> None:
    address = started.configure()
    broker = started.broker()
    broker.send(signal.SIGSTOP)
    seen = asyncio.run(look_at(address, 0.5))
    assert seen.readers is None
    assert [found.problem is not None and "something listens there" in found.problem for found in seen.endpoints] == [
        True
    ] * 3
    broker.send(signal.SIGCONT)
    assert [found.problem for found in asyncio.run(look_at(address, 10)).endpoints] == [None] * 3


def test_a_host_that_does_not_exist() -> None:
    address = StoreAddress("broker", "tcp://no-such-host.invalid:1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1")
    seen = {found.kind: found.problem for found in asyncio.run(look_at(address, 0.5)).endpoints}
    assert seen["control"] == seen["publish"] == "refused: nobody listens there"
    assert seen["frames"]
    assert "not known" in seen["frames"] or "name resolution" in seen["frames"] or "no connection" in seen["frames"]


def test_a_monolith_has_nothing_to_check(started: Processes, small_system: SmallSystem) -> None:
    code, shown = check(started, small_system)
    assert code == 2
    assert shown.startswith(f"error: {small_system.topology}: deployment.mode = 'monolith': runs in one process")


def test_a_wrong_topology(started: Processes, small_system: SmallSystem) -> None:
    bundled(small_system)
    small_system.change(small_system.topology, '"ponger"', '"ponder"')
    code, shown = check(started, small_system)
    assert code == 2
    assert "ponder" in shown
    assert "Traceback" not in shown


def test_the_page_shows_what_is_printed(started: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real system, without one of its bundles; on ports that are free."""
    page = (REPOSITORY / "docs" / "how-to" / "find-out-why-nothing-arrives.md").read_text()
    shown = page.partition("```text\n")[2].partition("```")[0]
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__READY_SECONDS", "2")
    monkeypatch.setenv("MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY", str(tmp_path))
    for kind, stands, port in zip(("publish", "frames", "control"), (7710, 7711, 7712), free_ports(3), strict=True):
        monkeypatch.setenv(f"MYCELIUM_BROKER__{kind.upper()}_PORT", str(port))
        shown = shown.replace(f":{stands}", f":{port}")
    config = REPOSITORY / "config" / "distributed.toml"
    started.mycelium("broker", "-c", config).wait_for("ready")
    started.mycelium("run", "-q", "-c", config, "--bundle", "strategy").wait_for("ready")
    process = started.mycelium("check", "-c", config)
    assert process.wait() == 1
    assert [line.split() for line in process.text.splitlines()] == [line.split() for line in shown.splitlines()]
