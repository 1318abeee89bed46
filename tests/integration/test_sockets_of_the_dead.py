"""What killed bundles leave in their directory of sockets, in real processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.transport.addresses import StoreAddress
from tests.processes.running import Processes, Running, processes

pytestmark = pytest.mark.process


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def bundle(started: Processes, name: str) -> Running:
    """A process with a store of its own."""
    place = started.directory / "sockets"
    address = StoreAddress(name, f"ipc://{place}/{name}.frames", f"ipc://{place}/{name}.control")
    return started.publisher(name, address, own="memory")


def inodes(started: Processes) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (started.directory / "sockets").iterdir()}


def names(*bundles: str) -> set[str]:
    return {f"{name}.{what}" for name in bundles for what in ("frames", "frames.lock", "control", "control.lock")}


def test_who_starts_cleans_up_behind_the_dead_and_leaves_the_living_alone(started: Processes) -> None:
    living, killed = bundle(started, "living"), bundle(started, "killed")
    before = inodes(started)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert set(inodes(started)) == set(before) == names("living", "killed")

    another = bundle(started, "another")
    after = inodes(started)
    assert set(after) == names("living", "another")
    assert all(after[name] == before[name] for name in names("living"))
    assert "killed.frames" in another.text

    assert living.finish() == 0
    assert another.finish() == 0
    assert inodes(started) == {}


def test_a_killed_bundle_has_its_place_again(started: Processes) -> None:
    bundle(started, "one").end(signal.SIGKILL)
    again = bundle(started, "one")
    assert set(inodes(started)) == names("one")
    assert again.finish() == 0
    assert inodes(started) == {}


def test_a_living_bundle_keeps_its_place(started: Processes) -> None:
    first = bundle(started, "one")
    before = inodes(started)
    second = started.start(
        "tests.processes.publisher",
        "one",
        *(f"ipc://{started.directory}/sockets/one.{what}" for what in ("frames", "control")),
        *("-", "-", "memory"),
    )
    assert second.wait() != 0
    assert "another process is bound there: does this bundle run already?" in second.text
    assert inodes(started) == before
    assert first.finish() == 0
