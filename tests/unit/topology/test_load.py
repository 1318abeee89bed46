"""Topologies: what is read, what the environment changes, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.errors import ConfigError
from mycelium.journal.protocol import Durability
from mycelium.topology.load import load_topology
from mycelium.topology.model import BrokerTopics, Mode, ServiceDelivery, Start
from mycelium.transport.addresses import MAX_IPC_PATH

GOOD = """
[deployment]
mode = "monolith"

[inter_bundle]
transport = "ipc"
socket_dir = "/run/here"

[[bundles]]
name = "one"
services = ["a", "b"]

[[bundles]]
name = "two"
services = ["c"]

[services.a]
speed = 3
"""

BROKER = """
[security]
insecure = true

[broker]
host = "10.0.0.9"
publish_port = 9001
durability = "group"

[[broker.topics]]
pattern = "market.>"
max_age_seconds = 3600

[delivery.a]
outbox = true
start = "earliest"
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
    assert values.services == {"a": {"speed": 3}}
    assert loaded.spec_path == write.parents[1] / "system.yaml"
    with pytest.raises(ValueError, match="frozen"):
        setattr(values, "deployment", values.deployment)  # noqa: B010 - mypy would refuse the assignment


def test_what_is_said_of_broker_and_delivery_is_read_and_the_rest_has_its_default(write: Path) -> None:
    write.write_text(GOOD.replace('"monolith"', '"distributed"') + BROKER)
    loaded = load_topology(write)
    broker, delivery = loaded.values.broker, loaded.values.delivery
    assert broker is not None
    assert (broker.host, broker.publish_port, broker.frames_port, broker.control_port) == ("10.0.0.9", 9001, 7711, 7712)
    assert (broker.durability, broker.sync_interval_ms, broker.max_age_seconds) == (Durability.GROUP, 10, None)
    assert broker.topics == (BrokerTopics(pattern="market.>", max_age_seconds=3600),)
    assert delivery == {"a": ServiceDelivery(outbox=True, start=Start.EARLIEST)}
    assert loaded.state_directory == write.parent / "../build/state"


def test_the_environment_alone_may_say_where_the_broker_is(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(GOOD.replace('"monolith"', '"distributed"'))
    monkeypatch.setenv("MYCELIUM_BROKER__PUBLISH_PORT", "9001")
    monkeypatch.setenv("MYCELIUM_DELIVERY__A__DURABLE", "true")
    values = load_topology(write).values
    assert values.broker is not None
    assert values.broker.publish_port == 9001
    assert values.delivery["a"].durable


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
        (
            ("[services.a]", "[broker]\npublish_port = 70000"),
            "broker.publish_port = 70000: should be less than or equal to 65535",
        ),
        (
            ("[services.a]", '[broker]\npublish_port = "http"'),
            "broker.publish_port = 'http': should be a valid integer",
        ),
        (('name = "two"', 'nam = "two"'), "bundles.1.nam: is not a known key; did you mean 'name'?"),
        (('name = "two"', 'name = "one"'), "bundles: bundle name 'one' stands more than once"),
        (('services = ["c"]', 'services = ["a"]'), "bundles: service 'a' stands more than once"),
        (('services = ["c"]', "services = []"), "bundles.1.services"),
        (('name = "two"', 'name = "Two!"'), "bundles.1.name = 'Two!'"),
        (("speed = 3", "speed = "), "is not TOML: "),
        *(
            (
                ("[services.a]", f"[tracing]\nendpoint = {endpoint!r}\n[services.a]"),
                f"tracing.endpoint = {endpoint!r}: should be the address of a collector, such as http://127.0.0.1:4318",
            )
            for endpoint in (
                "collector",
                "127.0.0.1:4318",
                "grpc://collector:4317",
                "http://",
                "http://[::1",
                "http://a?b",
            )
        ),
        (("[services.a]", "[tracing]\nratio = 1.5"), "tracing.ratio = 1.5: should be less than or equal to 1"),
        (
            ("[services.a]", "[[tracing.topics]]\npattern = 'A'\nratio = 1\n[services.a]"),
            "tracing.topics.0.pattern = 'A': ",
        ),
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


@pytest.mark.parametrize(
    ("mode", "change", "complaint"),
    [
        ("distributed", ("[broker]", "[logging]\n[brokr]"), "brokr: is not a known key; did you mean 'broker'?"),
        ("distributed", (BROKER, ""), "broker: is missing; mode 'distributed' needs it"),
        (
            "distributed",
            ("publish_port = 9001", "publish_port = 7711"),
            "broker.frames_port = 7711: is broker.publish_port's already; each has a port of its own",
        ),
        ("distributed", ('"group"', '"disk"'), "broker.durability = 'disk': should be 'process', 'group' or 'frame'"),
        ("distributed", ('"market.>"', '"market.>.x"'), "broker.topics.0.pattern = 'market.>.x': "),
        ("distributed", ("= 3600", "= 0"), "broker.topics.0.max_age_seconds = 0: should be greater than 0"),
        (
            "monolith",
            ("[delivery.a]", "[delivery.nobody]"),
            "delivery.nobody: is no service that a bundle has; those are a, b, c",
        ),
        ("monolith", ("outbox", "outbx"), "delivery.a.outbx: is not a known key; did you mean 'outbox'?"),
        ("monolith", ('"earliest"', '"first"'), "delivery.a.start = 'first': should be 'new' or 'earliest'"),
        ("monolith", ('"/run/here"', '"here"'), "inter_bundle.socket_dir = 'here': should be an absolute path"),
        (
            "bundled",
            ('transport = "ipc"', 'transport = "tcp"'),
            "inter_bundle.transport = 'tcp': mode 'bundled' is for one host; choose 'ipc' here, or mode 'distributed'",
        ),
        (
            "monolith",
            ('transport = "ipc"', "journal_bytes = 9"),
            "inter_bundle.journal_bytes = 9: should be greater than or equal to 33554432",
        ),
    ],
)
def test_each_mistake_about_other_processes_is_answered_too(
    write: Path, mode: str, change: tuple[str, str], complaint: str
) -> None:
    text = GOOD.replace('"monolith"', f'"{mode}"') + BROKER
    assert change[0] in text
    write.write_text(text.replace(*change))
    found = complaints(write)
    assert any(complaint in line for line in found), found
    assert all(line.startswith(str(write)) for line in found)


@pytest.mark.parametrize("spare", [0, -1])
def test_the_longest_socket_path_may_have_107_bytes(write: Path, spare: int) -> None:
    """`/one.control` and `/two.control` are as long; an umlaut has two bytes."""
    directory = "/" + "ö".ljust(MAX_IPC_PATH - spare - len("/") - len("/one.control") - 1, "x")
    text = GOOD.replace('"monolith"', '"bundled"').replace("/run/here", directory)
    write.write_text(text)
    if spare < 0:
        (complaint,) = complaints(write)
        assert f"inter_bundle.socket_dir = {directory!r}: is too long: {directory}/" in complaint
        assert "has 108 bytes, an ipc path has at most 107" in complaint
        write.write_text(text.replace('"bundled"', '"monolith"'))
    assert load_topology(write).values.inter_bundle.socket_dir == Path(directory)


# --- files that stand on others -------------------------------------------------------------------


def beside(path: Path, name: str, text: str) -> Path:
    other = path.with_name(name)
    other.write_text(text)
    return other


ABOVE = """
[deployment]
base = "t.toml"
mode = "bundled"

[[bundles]]
name = "all"
services = ["a", "b", "c"]

[services.a]
tone = 7
"""


def test_a_topology_begins_with_its_base_and_says_what_is_different(write: Path) -> None:
    write.write_text(GOOD)
    values = load_topology(beside(write, "above.toml", ABOVE)).values
    assert values.deployment.mode is Mode.BUNDLED
    assert values.inter_bundle.socket_dir == Path("/run/here")
    assert [bundle.name for bundle in values.bundles] == ["all"]
    assert values.services == {"a": {"speed": 3, "tone": 7}}


def test_a_base_may_have_a_base_and_the_environment_may_name_it(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(GOOD)
    beside(write, "above.toml", ABOVE)
    top = beside(write, "top.toml", '[deployment]\nbase = "none.toml"\ndrain_seconds = 3')
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__BASE", "above.toml")
    loaded = load_topology(top)
    assert (loaded.values.deployment.mode, loaded.values.deployment.drain_seconds) == (Mode.BUNDLED, 3)
    assert (loaded.path, loaded.directory) == (top, write.parent)
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__BASE", "nothing.toml")
    assert complaints(top) == [
        (
            "environment variable MYCELIUM_DEPLOYMENT__BASE: deployment.base = 'nothing.toml': "
            "should name a file beside this one"
        )
    ]


@pytest.mark.parametrize(
    ("change", "file", "key"),
    [
        (("speed = 3", 'speed = 3\n[loging]\nlevel = "info"'), "t.toml", "loging"),
        (("drain_seconds = 1", "drain_seconds = 0"), "t.toml", "deployment.drain_seconds"),
        (('name = "all"', 'name = "All"'), "above.toml", "bundles.0.name"),
        (('name = "all"', ""), "above.toml", "bundles.0.name"),
        (('"/run/here"', '"here"'), "t.toml", "inter_bundle.socket_dir"),
        (("/run/here", "/" + "x" * 100), "t.toml", "inter_bundle.socket_dir"),
        (("tone = 7", "tone = "), "above.toml", ""),
        (("speed = 3", "speed = "), "t.toml", ""),
    ],
)
def test_a_mistake_is_told_with_the_file_that_it_stands_in(
    write: Path, change: tuple[str, str], file: str, key: str
) -> None:
    below = GOOD.replace("[deployment]", "[deployment]\ndrain_seconds = 1")
    assert (change[0] in below) != (change[0] in ABOVE)
    write.write_text(below.replace(*change))
    found = complaints(beside(write, "above.toml", ABOVE.replace(*change)))
    assert found[0].startswith(f"{write.with_name(file)}: {key}")
    assert all(line.startswith(f"{write.with_name(file)}: ") for line in found)


@pytest.mark.parametrize("base", ['"none.toml"', '"../config/t.toml"', '"/t.toml"', '""', '"."', "3", "[]"])
def test_a_base_is_a_file_beside(write: Path, base: str) -> None:
    write.write_text(GOOD)
    (complaint,) = complaints(beside(write, "above.toml", ABOVE.replace('"t.toml"', base)))
    assert complaint.startswith(f"{write.with_name('above.toml')}: deployment.base = ")
    assert complaint.endswith(": should name a file beside this one")


def test_bases_that_go_round_in_a_circle_are_refused(write: Path) -> None:
    write.write_text(GOOD.replace("[deployment]", '[deployment]\nbase = "above.toml"'))
    above = beside(write, "above.toml", ABOVE)
    assert complaints(above) == [
        (
            f"{write}: deployment.base = 'above.toml': leads back: {above} -> {write} -> {above}; "
            "a base cannot stand on what stands on it"
        )
    ]
    alone = beside(write, "alone.toml", ABOVE.replace("t.toml", "alone.toml"))
    assert "leads back" in complaints(alone)[0]


def test_all_mistakes_are_told_at_once(write: Path) -> None:
    write.write_text(GOOD.replace('"two"', '"Two!"').replace('"ipc"', '"udp"'))
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
