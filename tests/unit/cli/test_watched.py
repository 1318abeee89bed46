"""What a running process looks at beside its topology: taken up when it has changed, whatever went wrong before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mycelium.cli import reload
from mycelium.cli.reload import Reloader, Watched
from mycelium.topology.load import load_topology


@pytest.fixture
def reloader_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.005)
    (tmp_path / "system.yaml").touch()
    path = tmp_path / "t.toml"
    path.write_text('[deployment]\nmode = "monolith"\n[[bundles]]\nname = "one"\nservices = ["a"]\n')
    return path


class Something:
    """It changes when it is told to. One of its values is more than can be taken up."""

    def __init__(self, bad: int) -> None:
        self.value = 0
        self.bad = bad
        self.seen: list[int] = []
        self.looked = asyncio.Event()

    def watched(self) -> Watched:
        return Watched(lambda: self.value, self.take_up)

    def take_up(self) -> None:
        self.seen.append(self.value)
        self.looked.set()
        if self.value and self.value == self.bad:
            raise ArithmeticError("a fault")

    async def change(self, value: int) -> None:
        self.looked.clear()
        self.value = value
        async with asyncio.timeout(5):
            await self.looked.wait()


def watch(path: Path, *values: int, bad: int = 0) -> list[int]:
    """In a loop that may wait for the disk, as that of a process does when a topology has changed."""
    return asyncio.run(_watch(path, values, bad))


async def _watch(path: Path, values: Iterable[int], bad: int) -> list[int]:
    something = Something(bad)
    topology = await asyncio.to_thread(load_topology, path)
    reloader = Reloader(topology, frozenset(), lambda _values: None, [something.watched()])
    async with reloader.watching():
        for value in values:
            await something.change(value)
    return something.seen


def test_each_change_is_taken_up_once(reloader_of: Path) -> None:
    assert watch(reloader_of, 2, 3, 4) == [2, 3, 4]


def test_a_fault_in_taking_up_one_change_does_not_end_the_looking(reloader_of: Path) -> None:
    with capture_logs() as logs:
        assert watch(reloader_of, 2, 3, bad=2) == [2, 3]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["a look for changes failed"]
