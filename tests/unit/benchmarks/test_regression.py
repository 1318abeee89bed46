"""What counts as slower, with figures that are planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.regression import FLOORS, Floor, Floors, FloorsError, Rates, Ratio, check, judge, read_floors
from mycelium.bench.paths import PATHS, Key

TCP, IPC = Ratio(Key.TCP, Key.RAW_PROXY), Ratio(Key.IPC, Key.RAW_IPC)
FLOOR = Floor(measured=2.0, limit=1.0)


def rates(tcp: float, ipc: float) -> Rates:
    return {Key.RAW_PROXY: 100.0, Key.TCP: 100.0 * tcp, Key.RAW_IPC: 400.0, Key.IPC: 400.0 * ipc}


class Machine:
    """Measures what is planted, and notes what it was asked for."""

    def __init__(self, *planted: Rates) -> None:
        self.planted = list(planted)
        self.asked: list[list[Key]] = []
        self.said: list[str] = []

    def measure(self, keys: list[Key]) -> list[Rates]:
        self.asked.append(keys)
        return [self.planted.pop(0)]

    def check(self, floors: Floors) -> bool:
        return check(floors, self.measure, self.said.append)


def test_all_hold() -> None:
    machine = Machine(rates(1.0, 3.0))
    assert machine.check({TCP: FLOOR, IPC: FLOOR})
    assert machine.asked == [[Key.RAW_PROXY, Key.RAW_IPC, Key.IPC, Key.TCP]]
    assert machine.said == [
        "ok      tcp/raw_proxy: 1.00, limit 1, once 2",
        "ok      ipc/raw_ipc: 3.00, limit 1, once 2",
    ]


def test_one_is_slower_twice() -> None:
    machine = Machine(rates(0.99, 3.0), rates(0.5, 0.1))
    assert not machine.check({TCP: FLOOR, IPC: FLOOR})
    assert machine.asked[1:] == [[Key.RAW_PROXY, Key.TCP]]
    assert machine.said[-2:] == [
        "SLOWER  tcp/raw_proxy: 0.50, limit 1, once 2",
        "ok      ipc/raw_ipc: 3.00, limit 1, once 2",
    ]


def test_one_was_disturbed_once() -> None:
    machine = Machine(rates(0.99, 3.0), rates(1.5, 3.0))
    assert machine.check({TCP: FLOOR, IPC: FLOOR})
    assert machine.said[0] == "measured once more: SLOWER  tcp/raw_proxy: 0.99, limit 1, once 2"
    assert machine.said[1] == "ok      tcp/raw_proxy: 1.50, limit 1, once 2"


def test_a_path_that_was_not_measured_does_not_hold() -> None:
    machine = Machine({Key.RAW_PROXY: 100.0}, {Key.TCP: 1_000.0})
    assert not machine.check({TCP: FLOOR})
    assert machine.said[-1] == "MISSING tcp/raw_proxy: not measured, limit 1, once 2"


def test_the_median_of_the_ratios_of_each_round_counts() -> None:
    rounds: list[Rates] = [
        {Key.RAW_PROXY: 100.0, Key.TCP: 200.0},
        {Key.RAW_PROXY: 10.0, Key.TCP: 15.0},  # all of it was disturbed: the ratio tells little less
        {Key.RAW_PROXY: 100.0, Key.TCP: 5.0},
    ]
    (verdict,) = judge({TCP: FLOOR}, rounds)
    assert verdict.found == 1.5
    assert verdict.holds


def test_our_own_file() -> None:
    floors = read_floors(FLOORS)
    assert {Ratio(key, path.floor) for key, path in PATHS.items() if key in {Key.IPC, Key.TCP} and path.floor} < set(
        floors
    )
    for floor in floors.values():
        assert 0.4 * floor.measured <= floor.limit <= 0.5 * floor.measured


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no table"),
        ("[ratios", "Expected ']'"),
        ('[ratios."tcp/nonsense"]\nmeasured = 1\nlimit = 1', "'nonsense' is not a valid Key"),
        ('[ratios."tcp/raw_proxy"]\nmeasured = 1', "limit"),
    ],
)
def test_a_file_that_is_not_right(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "floors.toml"
    path.write_text(text)
    with pytest.raises(FloorsError, match=reason) as caught:
        read_floors(path)
    assert caught.value.path == path


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FloorsError, match="No such file"):
        read_floors(tmp_path / "floors.toml")
