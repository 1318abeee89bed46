"""What the values of a topology must keep among one another, where :mod:`tests.unit.topology.test_load` has no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.errors import ConfigError
from mycelium.topology.load import load_topology
from mycelium.topology.model import Http

TOPOLOGY = """
[deployment]
mode = "MODE"

[[bundles]]
name = "one"
services = ["a"]

[[bundles]]
name = "two"
services = ["b"]

[broker]

[http]
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    (tmp_path / "system.yaml").write_text("")
    return tmp_path / "t.toml"


def http_of(path: Path, mode: str, text: str) -> Http:
    path.write_text(TOPOLOGY.replace("MODE", mode) + text)
    return load_topology(path).values.http


def complaints(path: Path, mode: str, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        http_of(path, mode, text)
    return [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("mode", "text", "ports"),
    [
        ("monolith", "", {None: None, "one": None, "broker": None}),
        ("monolith", "port = 8080", {None: 8080}),
        ("monolith", "port = 8080\n[http.ports]\none = 8081\ntwo = 8082", {None: 8080}),
        ("bundled", "[http.ports]\none = 8081", {"one": 8081, "two": None}),
        ("bundled", "port = 8080\n[http.ports]\none = 8081", {"one": 8081, "two": 8080}),
        ("bundled", "[http.ports]\none = 8081\nbroker = 8082", {"one": 8081, "broker": 8082}),
        ("distributed", "port = 8080", {"one": 8080, "two": 8080, "broker": 8080}),
        ("distributed", "port = 8080\n[http.ports]\nbroker = 8081", {"one": 8080, "broker": 8081}),
    ],
)
def test_who_answers_where(write: Path, mode: str, text: str, ports: dict[str | None, int | None]) -> None:
    http = http_of(write, mode, text)
    assert {name: http.port_of(name) for name in ports} == ports


def test_the_environment_says_where_the_token_is_and_what_the_ports_are(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYCELIUM_HTTP__TOKEN_FILE", "/run/secrets/token")
    monkeypatch.setenv("MYCELIUM_HTTP__PORTS__TWO", "8082")
    http = http_of(write, "bundled", 'token_file = "token"\n[http.ports]\none = 8081')
    assert (http.token_file, http.ports) == (Path("/run/secrets/token"), {"one": 8081, "two": 8082})


@pytest.mark.parametrize(
    ("mode", "text", "complaint"),
    [
        ("monolith", "port = 0", "http.port = 0: should be greater than or equal to 1"),
        ("monolith", "port = 65536", "http.port = 65536: should be less than or equal to 65535"),
        ("monolith", 'token = "secret"', "http.token: is not a known key; did you mean 'token_file'?"),
        (
            "monolith",
            'host = "example.org"',
            "http.host = 'example.org': should be an IP address of this host, such as",
        ),
        ("monolith", 'host = ""', "http.host = '': should be an IP address"),
        (
            "monolith",
            "[http.ports]\none = 8080",
            "http.port: is missing; mode 'monolith' has one process, to which this applies",
        ),
        ("bundled", "[http.ports]\nthree = 1", "http.ports.three = 1: is of no process; those are one, two, broker"),
        ("bundled", "[http.ports]\none = 0", "http.ports.one = 0: should be greater than or equal to 1"),
        (
            "bundled",
            "[http.ports]\none = 8080\ntwo = 8080",
            "http.ports.two = 8080: is http.ports.one's already; on hosts of their own all can have http.port",
        ),
        (
            "bundled",
            "port = 8080",
            "http.port = 8080: would be the port of one and two on one host; give each its own in http.ports",
        ),
        (
            "bundled",
            "port = 8080\n[http.ports]\none = 8080",
            "http.port = 8080: would be the port of one and two on one host",
        ),
        ("distributed", "port = 7711", "http.port = 7711: is broker.frames_port already; the broker needs another"),
        ("distributed", "[http.ports]\nbroker = 7710", "http.ports.broker = 7710: is broker.publish_port already"),
    ],
)
def test_each_mistake_has_its_sentence(write: Path, mode: str, text: str, complaint: str) -> None:
    (said,) = complaints(write, mode, text)
    assert said.startswith(complaint)


def test_without_a_broker_there_is_no_process_of_this_name(write: Path) -> None:
    write.write_text((TOPOLOGY.replace("MODE", "bundled") + "[http.ports]\nbroker = 8080").replace("[broker]", ""))
    with pytest.raises(ConfigError, match=r"http.ports.broker = 8080: is of no process; those are one, two$"):
        load_topology(write)


def test_a_bundle_that_is_called_like_the_broker(write: Path) -> None:
    text = TOPOLOGY.replace("MODE", "distributed").replace('"two"', '"broker"')
    write.write_text(text)
    load_topology(write)
    write.write_text(f"{text}[http.ports]\nbroker = 8080")
    with pytest.raises(ConfigError, match=r"http.ports.broker = 8080: is the name of a bundle and of the broker"):
        load_topology(write)
