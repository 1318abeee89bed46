"""How a recording is read in order, and at which pace it is published."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mycelium.cli.record import bytes_of
from mycelium.cli.recording import fingerprint_of
from mycelium.cli.replaying import Pace, Window, read_in_order
from mycelium.core.topics import Pattern
from mycelium.journal import LmdbJournal
from mycelium.spec.code import import_code
from mycelium.spec.model import load_spec
from mycelium.testing import ManualClock
from tests.conftest import REPOSITORY
from tests.processes.recordings import make_recording

ALL = Window(Pattern.parse(">"))


def test_the_order_is_that_of_publishing_whatever_the_journal_has(tmp_path: Path) -> None:
    frames = [
        ("b", "0", 2.0, [3]),
        ("a", "0", 1.0, [1]),
        ("a", "0", 1.5, [2]),
        ("a", "0", 3.0, [5]),
        ("b", "0", 2.5, [4]),
    ]
    journal = LmdbJournal(make_recording(tmp_path / "rec", frames), max_bytes=1 << 24)
    assert [found.position for found in read_in_order(journal, ALL)] == [2, 3, 1, 5, 4]
    journal.close()


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 10.0), (10.0, 1.0), (0.5, 20.0)])
async def test_the_pace_is_that_of_the_recording(speed: float, seconds: float) -> None:
    clock = ManualClock()
    pace = Pace(clock, speed, asyncio.Event())
    await pace.wait(1_000)
    waiting = asyncio.ensure_future(pace.wait(1_000 + 10_000_000_000))
    for _ in range(3):  # until it sleeps
        await asyncio.sleep(0)
    await clock.advance(seconds - 0.001)
    assert not waiting.done()
    await clock.advance(0.002)
    await asyncio.wait_for(waiting, 5)


async def test_who_is_late_does_not_wait_and_max_never_does() -> None:
    clock = ManualClock()
    pace = Pace(clock, 1.0, asyncio.Event())
    await pace.wait(0)
    await clock.advance(5)
    await asyncio.wait_for(pace.wait(5_000_000_000), 5)
    await asyncio.wait_for(Pace(clock, None, asyncio.Event()).wait(1 << 60), 5)


async def test_waiting_ends_when_it_is_told_to() -> None:
    stop = asyncio.Event()
    pace = Pace(ManualClock(), 1.0, stop)
    await pace.wait(0)
    waiting = asyncio.ensure_future(pace.wait(1 << 60))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("1MiB", 1 << 20), ("500MB", 500_000_000), ("4GiB", 4 << 30), ("2 TB", 2 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


def test_the_fingerprint_of_the_spec_is_that_of_the_class() -> None:
    path = REPOSITORY / "system.yaml"
    spec = load_spec(path)
    code = import_code(spec, path)
    assert len(spec.contracts) > 3
    assert {name: fingerprint_of(said) for name, said in spec.contracts.items()} == {
        name: contract.fingerprint.hex() for name, contract in code.contracts.items()
    }
