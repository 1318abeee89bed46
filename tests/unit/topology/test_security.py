"""Who may come in over tcp: what a topology may say of it, and what it must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.errors import ConfigError
from mycelium.topology.load import load_topology
from mycelium.topology.model import BrokerLimits, Topology
from mycelium.transport.limits import Limits

BUNDLES = '[[bundles]]\nname = "one"\nservices = ["a"]\n'
MISSING = (
    "security.keys: is missing, and broker.host = {host!r} is beyond this host: everybody who reaches it could read"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "system.yaml").touch()
    return tmp_path / "t.toml"


def load(path: Path, text: str, mode: str = "distributed") -> Topology:
    path.write_text(f'[deployment]\nmode = "{mode}"\n{BUNDLES}{text}')
    return load_topology(path).values


def complaints(path: Path, text: str, mode: str = "distributed") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, text, mode)
    return [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "host", ["10.0.0.9", "0.0.0.0", "::", "*", "broker.internal", "localhost.example", "128.0.0.1"]
)
def test_plain_tcp_beyond_this_host_is_refused(path: Path, host: str) -> None:
    (said,) = complaints(path, f'[broker]\nhost = "{host}"\n')
    assert said.startswith(MISSING.format(host=host))
    assert said.endswith("Make keys with `mycelium keys init` and name their directory here, or say insecure = true")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_on_this_host_nobody_asks(path: Path, host: str) -> None:
    values = load(path, f'[broker]\nhost = "{host}"\n')
    assert (values.security.keys, values.security.insecure) == (None, False)


@pytest.mark.parametrize("security", ['keys = "keys"', "insecure = true", 'keys = "keys"\ninsecure = false'])
def test_beyond_it_with_keys_or_on_purpose(path: Path, security: str) -> None:
    load(path, f'[broker]\nhost = "10.0.0.9"\n[security]\n{security}\n')


@pytest.mark.parametrize("mode", ["monolith", "bundled"])
def test_where_nobody_uses_the_broker_its_host_is_nobodys_matter(path: Path, mode: str) -> None:
    load(path, '[broker]\nhost = "10.0.0.9"\n', mode)


@pytest.mark.parametrize("mode", ["monolith", "bundled", "distributed"])
def test_keys_and_insecure_contradict_each_other(path: Path, mode: str) -> None:
    (said,) = complaints(path, '[broker]\n[security]\nkeys = "keys"\ninsecure = true\n', mode)
    assert said == "security.insecure = True: and security.keys contradict each other; leave one of them out"


def test_a_rate_needs_keys(path: Path) -> None:
    limits = "[broker]\n[broker.limits]\nmessages_per_second = 5\n"
    assert complaints(path, limits) == [
        "broker.limits.messages_per_second = 5: needs security.keys: without keys nobody knows who publishes"
    ]
    assert complaints(path, f"{limits}[security]\ninsecure = true\n") == complaints(path, limits)
    broker = load(path, f'{limits}[security]\nkeys = "keys"\n').broker
    assert broker is not None
    assert broker.limits.messages_per_second == 5


def test_the_other_limits_hold_without_keys_too(path: Path) -> None:
    broker = load(path, "[broker]\n[broker.limits]\nconnections = 8\nreaders_each = 1\n").broker
    assert broker is not None
    assert (broker.limits.connections, broker.limits.readers_each) == (8, 1)


def test_a_topology_has_the_defaults_of_a_broker() -> None:
    assert Limits(**BrokerLimits().model_dump()) == Limits()


@pytest.mark.parametrize(
    ("limit", "least"),
    [
        ("connections", 8),
        ("connections_each", 1),
        ("handshakes", 8),
        ("subscriptions_each", 8),
        ("repairs_each", 8),
        ("readers_each", 1),
        ("messages_per_second", 1),
    ],
)
def test_a_limit_under_which_nothing_works(path: Path, limit: str, least: int) -> None:
    keys = '[security]\nkeys = "keys"\n'
    load(path, f"[broker]\n[broker.limits]\n{limit} = {least}\n{keys}")
    (said,) = complaints(path, f"[broker]\n[broker.limits]\n{limit} = {least - 1}\n{keys}")
    assert said == f"broker.limits.{limit} = {least - 1}: should be greater than or equal to {least}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[security]\ninsecure = 3\n", "security.insecure = 3: should be a valid boolean"),
        ("[security]\nkey = 'keys'\n", "security.key: is not a known key; did you mean 'keys'?"),
        ("[security]\nkeys = true\n", "security.keys = True: "),
        ("[broker]\n[broker.limits]\nconnection = 9\n", "broker.limits.connection: is not a known key; did you mean"),
        ("[broker]\n[broker.limits]\nhandshakes = 'x'\n", "broker.limits.handshakes = 'x': should be a valid integer"),
    ],
)
def test_what_is_no_setting(path: Path, text: str, said: str) -> None:
    found = complaints(path, text, "monolith")
    assert len(found) == 1
    assert found[0].startswith(said)


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    limits = "[broker.limits]\nmessages_per_second = 5\n"
    assert len(complaints(path, f'[broker]\nhost = "10.0.0.9"\n{limits}')) == 2


# --- the environment -----------------------------------------------------------------------------


def test_the_environment_opens_and_closes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = '[broker]\nhost = "10.0.0.9"\n'
    monkeypatch.setenv("MYCELIUM_SECURITY__INSECURE", "true")
    assert load(path, open_to_all).security.insecure
    monkeypatch.delenv("MYCELIUM_SECURITY__INSECURE")
    monkeypatch.setenv("MYCELIUM_SECURITY__KEYS", "/run/secrets/keys")
    assert load(path, open_to_all).security.keys == Path("/run/secrets/keys")


def test_what_the_environment_contradicts_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_SECURITY__KEYS", "keys")
    (said,) = complaints(path, '[broker]\nhost = "10.0.0.9"\n[security]\ninsecure = true\n')
    assert "security.insecure = True: and security.keys contradict each other" in said
    monkeypatch.setenv("MYCELIUM_SECURITY__INSECURE", "false")
    assert load(path, '[broker]\nhost = "10.0.0.9"\n[security]\ninsecure = true\n').security.keys == Path("keys")


def test_a_host_from_the_environment_is_judged_like_any_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_BROKER__HOST", "0.0.0.0")
    (said,) = complaints(path, "[broker]\n")
    assert MISSING.format(host="0.0.0.0") in said


def test_limits_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_BROKER__LIMITS__MESSAGES_PER_SECOND", "9")
    (said,) = complaints(path, "[broker]\n")
    assert "broker.limits.messages_per_second = 9: needs security.keys" in said
    monkeypatch.setenv("MYCELIUM_SECURITY__KEYS", "keys")
    broker = load(path, "[broker]\n").broker
    assert broker is not None
    assert broker.limits.messages_per_second == 9
