"""What `mycelium demo` starts and with what. That it ends and leaves nothing is in tests/integration."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from mycelium.cli.demo import overrides, parts_of, readers
from mycelium.cli.supervisor import Part
from mycelium.cli.system import System, load_system, placements
from mycelium.topology.load import load_topology
from tests.systems import SmallSystem

BUNDLES = """
[[bundles]]
name = "answers"
services = ["ponger"]

[[bundles]]
name = "questions"
services = ["pinger"]

[security]
insecure = true

[broker]
host = "10.0.0.9"
"""


@pytest.fixture
def config(small_system: SmallSystem) -> Path:
    old = '[[bundles]]\nname = "all"\nservices = ["pinger", "ponger"]\n'
    small_system.change(small_system.topology, old, BUNDLES)
    return small_system.topology


def in_mode(config: Path, mode: str) -> System:
    config.write_text(config.read_text().replace('"monolith"', f'"{mode}"'))
    return load_system(config)


def test_bundles_end_in_the_order_in_which_messages_flow_and_the_broker_last(config: Path, tmp_path: Path) -> None:
    system = in_mode(config, "distributed")
    hosted = placements(system, ["ponger", "pinger"])
    mine = sys.executable, "-m", "mycelium"
    common = "--config", str(config), "--log-level", "debug"

    def bundle(name: str, *, leads: bool) -> Part:
        summary = str(tmp_path / f"{name}.summary.json")
        return Part(name, (*mine, "run", "--bundle", name, *common, "--summary", summary, "--quiet"), leads)

    assert parts_of(system, hosted, tmp_path, ["--log-level", "debug"], quiet=True) == [
        bundle("questions", leads=True),
        bundle("answers", leads=False),
        Part("broker", (*mine, "broker", *common)),
    ]


def test_mode_bundled_has_no_broker(config: Path, tmp_path: Path) -> None:
    system = in_mode(config, "bundled")
    parts = parts_of(system, placements(system, ["ponger", "pinger"]), tmp_path, [], quiet=False)
    assert [part.name for part in parts] == ["questions", "answers"]


def test_two_runs_share_no_socket_no_port_and_no_state(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = in_mode(config, "distributed").topology.values
    one, two = (overrides(values, tmp_path / name) for name in ("one", "two"))
    for name, value in one.items():
        monkeypatch.setenv(name, value)
    changed = load_topology(config)
    assert changed.state_directory == tmp_path / "one" / "state"
    assert changed.values.inter_bundle.socket_dir == tmp_path / "one" / "sockets"
    broker = changed.values.broker
    assert broker is not None
    assert broker.host == "127.0.0.1"
    ports = (broker.publish_port, broker.frames_port, broker.control_port)
    for port in ports:
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))
    assert len(set(ports)) == 3
    assert not {value for name, value in one.items() if name != "MYCELIUM_BROKER__HOST"} & set(two.values())


@pytest.mark.parametrize(
    ("mode", "http", "watched"),
    [
        ("distributed", "port = 8080", ["answers", "broker", "questions"]),
        ("distributed", "[http.ports]\nanswers = 8080", ["answers"]),
        ("bundled", "[http.ports]\nanswers = 8080\nbroker = 8081", ["answers"]),
        ("bundled", "", []),
    ],
)
def test_who_answers_over_http_does_it_on_a_port_of_this_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, http: str, watched: list[str]
) -> None:
    config.write_text(f"{config.read_text()}\n[http]\n{http}\n")
    for name, value in overrides(in_mode(config, mode).topology.values, tmp_path).items():
        monkeypatch.setenv(name, value)
    values = load_topology(config).values.http
    ports = {name: values.port_of(name) for name in watched}
    assert not {8080, 8081} & set(ports.values())
    assert len(set(ports.values())) == len(watched)


def test_the_books_are_compared_where_a_subscription_reads_all_of_a_contract(config: Path) -> None:
    system = load_system(config)
    # Pong is read on one topic only: how much of it that is, its publisher's books do not say.
    assert readers(placements(system, ["pinger", "ponger"])) == {"ponger.on_ping": "Ping"}
