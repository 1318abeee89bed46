"""From a topology to an endpoint and its token. That it is served is in tests/integration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mycelium.cli.http import Endpoint, endpoint_of, unready_of
from mycelium.core.errors import ConfigError
from mycelium.journal import JournalError, MemoryJournal
from mycelium.topology.load import LoadedTopology, load_topology
from tests.unit.broker.test_broker import open_broker

TOKEN = "a-token-of-just-thirty-two-chars"
TOPOLOGY = """
[deployment]
mode = "distributed"
[broker]
[[bundles]]
name = "one"
services = ["a"]
[http]
token_file = "token"
[http.ports]
one = 8081
"""


@pytest.fixture
def topology(tmp_path: Path) -> LoadedTopology:
    (tmp_path / "system.yaml").write_text("")
    path = tmp_path / "t.toml"
    path.write_text(TOPOLOGY)
    return load_topology(path)


def write(topology: LoadedTopology, content: bytes, mode: int = 0o600) -> Path:
    path = topology.directory / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_process_without_a_port_needs_no_token(topology: LoadedTopology) -> None:
    assert endpoint_of(topology, "broker") is None


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n"])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_the_token_is_what_stands_in_the_file(topology: LoadedTopology, content: str, mode: int) -> None:
    write(topology, content.encode(), mode)
    endpoint = endpoint_of(topology, "one")
    assert endpoint == Endpoint("127.0.0.1", 8081, TOKEN)
    assert TOKEN not in repr(endpoint)


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (TOKEN.encode(), 0o644, "can be read by others or written by its group (mode 0644); chmod 600"),
        (TOKEN.encode(), 0o604, "(mode 0604)"),
        (TOKEN.encode(), 0o660, "(mode 0660)"),
        (TOKEN.encode(), 0o602, "(mode 0602)"),
        (TOKEN[:-1].encode(), 0o600, "holds a token of 31 characters, which needs 32; make one with"),
        (b"", 0o600, "holds a token of 0 characters"),
        (TOKEN.encode() + b"\n" + TOKEN.encode(), 0o600, "holds no token, which is one line of visible ASCII"),
        (TOKEN.encode() + "ü".encode(), 0o600, "holds no token"),
        (b"x" * 2000, 0o600, "holds no token"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_token_that_is_none(topology: LoadedTopology, content: bytes, mode: int, complaint: str) -> None:
    path = write(topology, content, mode)
    with pytest.raises(ConfigError) as caught:
        endpoint_of(topology, "one")
    said = str(caught.value)
    assert said.startswith(f"{topology.path}: http.token_file = '{path}': ")
    assert complaint in said
    assert TOKEN[:10] not in said


def test_a_file_that_is_not_there(topology: LoadedTopology, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        endpoint_of(topology, "one")
    monkeypatch.setenv("MYCELIUM_HTTP__TOKEN_FILE", "/nowhere")
    with pytest.raises(
        ConfigError, match=r"environment variable MYCELIUM_HTTP__TOKEN_FILE: http\.token_file = '/nowhere'"
    ):
        endpoint_of(load_topology(topology.path), "one")


def test_a_pipe_and_a_directory_are_no_files(topology: LoadedTopology) -> None:
    path = topology.directory / "token"
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="is no file"):
        endpoint_of(topology, "one")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory|is no file"):
        endpoint_of(topology, "one")


def test_who_may_not_read_it_is_told(topology: LoadedTopology) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write(topology, TOKEN.encode(), 0o000)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        endpoint_of(topology, "one")


async def test_a_broker_is_ready_when_it_is_bound_and_can_keep_what_comes() -> None:
    async with open_broker(MemoryJournal()) as broker:
        assert unready_of(broker) == {}
    assert unready_of(broker) == {"broker": "not bound"}


async def test_a_broker_is_not_ready_when_it_cannot() -> None:
    async with open_broker(MemoryJournal()) as broker:
        broker.is_full = True
        assert unready_of(broker) == {"journal": "full"}
        broker.failed.set_exception(JournalError("memory", "Input/output error"))
        assert unready_of(broker) == {"journal": "failed"}
        assert broker.failed.exception() is not None
    assert unready_of(broker) == {"broker": "not bound", "journal": "failed"}
