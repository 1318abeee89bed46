"""From a topology to keys and rules, and what is said at a start without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mycelium.cli.security import (
    check_binding,
    credentials_by_name,
    keyring_of,
    operator_credentials,
    security_from,
    warn_if_open,
)
from mycelium.core.errors import ConfigError
from mycelium.observe.redaction import REDACTED, redact_text
from mycelium.spec.model import load_spec
from mycelium.topology.load import LoadedTopology, load_topology
from mycelium.transport.guard import user_of
from mycelium.transport.keyring import Keyring, fingerprint

NOW = 1_800_000_000.0

SPEC = """
system: s
contracts:
  Tick: {class: "m:Tick", type_id: 1, topic: "ticks.{venue}.{name}", fields: {venue: str, name: str}}
services:
  feeder: {class: "m:F", publishes: [Tick], subscribes: [], restart: always, depends_on: []}
  trader: {class: "m:T", publishes: [], subscribes: [Tick], restart: always, depends_on: []}
operators:
  ledger: {asks: [books]}
"""


def topology(directory: Path, text: str = "", host: str = "127.0.0.1", mode: str = "distributed") -> LoadedTopology:
    (directory / "system.yaml").write_text(SPEC)
    path = directory / "t.toml"
    path.write_text(
        f'[deployment]\nmode = "{mode}"\n[[bundles]]\nname = "one"\nservices = ["feeder", "trader"]\n'
        f'[broker]\nhost = "{host}"\n{text}'
    )
    return load_topology(path)


def with_keys(directory: Path, *names: str, mode: str = "distributed") -> tuple[LoadedTopology, Keyring]:
    found = topology(directory, '[security]\nkeys = "keys"\n', mode=mode)
    keyring = Keyring(directory / "keys")
    for name in names:
        keyring.create(name, NOW)
    return found, keyring


OPEN = "[security]\ninsecure = true\n"


# --- without keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["monolith", "distributed"])
@pytest.mark.parametrize("bind", ["0.0.0.0", "10.0.0.9", "*", "::", "eth0"])
def test_bind_does_not_open_what_the_topology_does_not(tmp_path: Path, bind: str, mode: str) -> None:
    found = topology(tmp_path, mode=mode)
    assert found.values.broker is not None
    check_binding(found, found.values.broker, None)
    check_binding(found, found.values.broker, "127.0.0.1")
    with pytest.raises(ConfigError) as caught:
        check_binding(found, found.values.broker, bind)
    (problem,) = caught.value.problems
    assert problem.key == "security.keys"
    assert (
        f"is missing, and the broker is to listen on {bind!r}: everybody who reaches it could read" in problem.message
    )


@pytest.mark.parametrize("security", [OPEN, '[security]\nkeys = "keys"\n'])
def test_bind_opens_what_has_keys_or_is_open_on_purpose(tmp_path: Path, security: str) -> None:
    found = topology(tmp_path, security)
    assert found.values.broker is not None
    check_binding(found, found.values.broker, "0.0.0.0")


def test_the_host_of_a_topology_in_another_mode_is_checked_by_the_broker_itself(tmp_path: Path) -> None:
    found = topology(tmp_path, host="10.0.0.9", mode="monolith")
    assert found.values.broker is not None
    with pytest.raises(ConfigError, match=r"listen on '10\.0\.0\.9'"):
        check_binding(found, found.values.broker, None)


def warnings(found: LoadedTopology, bind: str | None = None) -> list[str]:
    with capture_logs() as logs:
        warn_if_open(found, bind)
    assert all(line["log_level"] == "warning" for line in logs)
    assert all(
        line["event"].startswith("INSECURE: everybody who reaches the broker may read and publish") for line in logs
    )
    return [line["broker"] for line in logs]


def test_who_is_open_to_all_says_so(tmp_path: Path) -> None:
    assert warnings(topology(tmp_path, OPEN, "10.0.0.9")) == ["10.0.0.9"]
    assert warnings(topology(tmp_path, OPEN, "10.0.0.9"), "0.0.0.0") == ["0.0.0.0"]
    assert warnings(topology(tmp_path, OPEN), "0.0.0.0") == ["0.0.0.0"]


def test_a_broker_says_so_in_whatever_mode_its_topology_is(tmp_path: Path) -> None:
    assert warnings(topology(tmp_path, OPEN, "10.0.0.9", "monolith"), "10.0.0.9") == ["10.0.0.9"]


def test_who_is_not_does_not(tmp_path: Path) -> None:
    assert warnings(topology(tmp_path, OPEN)) == []
    assert warnings(topology(tmp_path, OPEN, "10.0.0.9"), "127.0.0.1") == []
    assert warnings(topology(tmp_path, '[security]\nkeys = "keys"\n', "10.0.0.9"), "0.0.0.0") == []
    assert warnings(topology(tmp_path, OPEN, "10.0.0.9", "monolith")) == [], "services of one process use no broker"


# --- with keys -----------------------------------------------------------------------------------


def test_without_keys_there_are_none(tmp_path: Path) -> None:
    found = topology(tmp_path)
    assert keyring_of(found) is None
    assert credentials_by_name(found) is None
    assert operator_credentials(found, "ledger") is None
    assert security_from(found, load_spec(found.spec_path)) is None


def test_keys_are_beside_the_topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found, keyring = with_keys(tmp_path, "broker", "trader")
    beside = keyring_of(found)
    assert beside is not None
    assert beside.directory == keyring.directory
    find = credentials_by_name(found)
    assert find is not None
    assert find("trader").pair == keyring.pair("trader")
    with pytest.raises(ConfigError, match=r"feeder\.key_secret: cannot be read"):
        find("feeder")


@pytest.mark.parametrize("mode", ["monolith", "bundled"])
def test_where_there_is_no_broker_nobody_needs_keys(tmp_path: Path, mode: str) -> None:
    found, _ = with_keys(tmp_path, mode=mode)
    assert credentials_by_name(found) is None


def test_a_broker_knows_those_of_the_spec_who_have_keys_and_nobody_else(tmp_path: Path) -> None:
    found, keyring = with_keys(tmp_path, "broker", "trader", "ledger", "stranger")
    security = security_from(found, load_spec(found.spec_path))
    assert security is not None
    keys = {name: keyring.pair(name).public for name in ("trader", "ledger")}
    assert security.users == {key: user_of(name, fingerprint(key)) for name, key in keys.items()}
    assert security.pair == keyring.pair("broker")
    assert security.access.rights("ledger").is_operator


@pytest.mark.parametrize("missing", ["broker.key_secret", "system.yaml"])
def test_a_broker_that_cannot_know_does_not_begin(tmp_path: Path, missing: str) -> None:
    found, keyring = with_keys(tmp_path, "broker", "trader")
    if missing == "system.yaml":
        text = SPEC.replace("subscribes: [Tick]", "subscribes: [{contract: Tick, pattern: ticks.*.eth}]")
        found.spec_path.write_text(text)
    else:
        (keyring.directory / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        security_from(found, load_spec(found.spec_path))


def test_secrets_that_were_read_are_not_in_the_log(tmp_path: Path) -> None:
    found, keyring = with_keys(tmp_path, "broker", "trader", "ledger")
    security_from(found, load_spec(found.spec_path))
    find = credentials_by_name(found)
    assert find is not None
    find("trader")
    operator_credentials(found, "ledger")
    for name in ("broker", "trader", "ledger"):
        assert redact_text(f"it is {keyring.pair(name).secret}!") == f"it is {REDACTED}!"
