"""Topologies: what is read, what the environment changes, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.errors import ConfigError
from mycelium.topology.load import load_topology, require_built
from mycelium.topology.model import Mode

GOOD = """
[deployment]
mode = "monolith"

[inter_bundle]
transport = "ipc"
socket_dir = "/run/here"

[[bundles]]
name = "one"
services = ["a", "b"]
host = "10.0.0.1"
port = 5555

[[bundles]]
name = "two"
services = ["c"]

[services.a]
speed = 3
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    (tmp_path / "system.yaml").write_text("")
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "t.toml"


def complaints(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_topology(path)
    return [str(problem) for problem in caught.value.problems]


def test_a_topology_is_read_whole_and_stays_as_it_is(write: Path) -> None:
    write.write_text(GOOD)
    loaded = load_topology(write)
    values = loaded.values
    assert values.deployment.mode is Mode.MONOLITH
    assert values.inter_bundle.socket_dir == Path("/run/here")
    assert values.placed == ("a", "b", "c")
    assert (values.bundles[0].host, values.bundles[0].port) == ("10.0.0.1", 5555)
    assert values.services == {"a": {"speed": 3}}
    assert loaded.spec_path == write.parents[1] / "system.yaml"
    with pytest.raises(ValueError, match="frozen"):
        setattr(values, "deployment", values.deployment)  # noqa: B010 - mypy would refuse the assignment


def test_the_environment_overrides_the_file(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(GOOD)
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__DRAIN_SECONDS", "3.5")
    monkeypatch.setenv("MYCELIUM_SERVICES__A__SPEED", "9")
    monkeypatch.setenv("MYCELIUM_SERVICES__C__PLACE", "here")
    values = load_topology(write).values
    assert values.deployment.drain_seconds == 3.5
    assert values.services == {"a": {"speed": "9"}, "c": {"place": "here"}}


def test_a_mistake_in_the_environment_names_the_variable(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(GOOD)
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__MODE", "clustered")
    (complaint,) = complaints(write)
    assert complaint.startswith("environment variable MYCELIUM_DEPLOYMENT__MODE: deployment.mode = 'clustered': ")
    assert complaint.endswith("should be 'monolith', 'bundled' or 'distributed'")


def test_a_list_in_the_environment_that_is_no_json_is_named(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(GOOD)
    monkeypatch.setenv("MYCELIUM_BUNDLES", "[not json")
    (complaint,) = complaints(write)
    assert complaint.startswith("environment variable MYCELIUM_BUNDLES: bundles = '[not json': is no JSON: ")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('mode = "monolith"', 'mode = "mono"'), "deployment.mode = 'mono': should be 'monolith', 'bundled' or"),
        (('mode = "monolith"', ""), "deployment.mode: is missing"),
        (('mode = "monolith"', 'mode = "monolith"\ndrain = 3'), "did you mean 'drain_seconds'?; accepted are"),
        (("[deployment]", "[deployment]\ndrain_seconds = 0"), "deployment.drain_seconds = 0: should be greater than 0"),
        (('transport = "ipc"', 'transport = "udp"'), "inter_bundle.transport = 'udp': should be 'ipc' or 'tcp'"),
        (("port = 5555", "port = 70000"), "bundles.0.port = 70000: should be less than or equal to 65535"),
        (("port = 5555", 'port = "http"'), "bundles.0.port = 'http': should be a valid integer"),
        (("port = 5555", "porte = 5555"), "bundles.0.porte: is not a known key; did you mean 'port'?"),
        (('name = "two"', 'name = "one"'), "bundles: bundle name 'one' stands more than once"),
        (('services = ["c"]', 'services = ["a"]'), "bundles: service 'a' stands more than once"),
        (('services = ["c"]', "services = []"), "bundles.1.services"),
        (('name = "two"', 'name = "Two!"'), "bundles.1.name = 'Two!'"),
        (("speed = 3", "speed = "), "is not TOML: "),
        (("[services.a]", "[servces.a]"), "servces: is not a known key; did you mean 'services'?"),
    ],
)
def test_each_mistake_is_answered_with_file_key_value_and_what_would_be_right(
    write: Path, change: tuple[str, str], complaint: str
) -> None:
    assert change[0] in GOOD
    write.write_text(GOOD.replace(*change))
    found = complaints(write)
    assert any(complaint in line for line in found), found
    assert all(line.startswith(str(write)) for line in found)


def test_all_mistakes_are_told_at_once(write: Path) -> None:
    write.write_text(GOOD.replace("5555", "70000").replace('"ipc"', '"udp"'))
    assert len(complaints(write)) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert complaints(tmp_path / "none.toml") == [f"{tmp_path}/none.toml: cannot be read: No such file or directory"]
    assert complaints(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in complaints(binary)[0]


def test_without_a_spec_the_topology_says_where_it_looked(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(GOOD)
    assert "no system.yaml stands in" in complaints(path)[0]


def test_a_spec_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(GOOD.replace("[deployment]", '[deployment]\nspec = "../other.yaml"'))
    assert load_topology(path).spec_path == tmp_path / "../other.yaml"


@pytest.mark.parametrize("mode", ["bundled", "distributed"])
def test_modes_that_are_not_built_say_so(write: Path, mode: str) -> None:
    write.write_text(GOOD.replace('"monolith"', f'"{mode}"'))
    with pytest.raises(ConfigError, match=f"deployment.mode = '{mode}': this version runs 'monolith' only"):
        require_built(load_topology(write))
