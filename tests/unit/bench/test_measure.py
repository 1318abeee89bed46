"""How it is measured, with ends that answer what a test wants."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mycelium.bench import measure as measuring
from mycelium.bench.machine import this_machine
from mycelium.bench.measure import LossError, Report, measure, measure_once
from mycelium.bench.paths import PATHS, Ends, Key, MeasuredPath
from mycelium.bench.processes import RoleProcesses
from mycelium.bench.statistics import Figure, Latency


class Fake:
    """An end where each message takes so many µs, and some get lost or come out of order.

    Args:
        each: µs.
        lost: messages of each run.
        disorder: the last to come is the last but so many.
    """

    def __init__(self, each: float = 100.0, *, lost: int = 0, disorder: int = 0) -> None:
        self.each = each
        self.lost = lost
        self.disorder = disorder
        self.told: list[str] = []

    def tell(self, command: str) -> None:
        self.told.append(command)

    def answer(self, *, seconds: float = 0) -> dict[str, Any]:
        what, *_, count = self.told[-1].split()
        if what == "publish":
            return {"started": 5.0}
        if what == "ping":
            return {"p50_us": 10.0, "p99_us": 20.0}
        received = int(count) - self.lost
        return {"received": received, "last": received - 1 - self.disorder, "ended": 5.0 + int(count) * self.each / 1e6}

    def ask(self, command: str, *, seconds: float = 0) -> dict[str, Any]:
        self.tell(command)
        return {"started": 5.0} | self.answer()


def use(monkeypatch: pytest.MonkeyPatch, near: Fake, far: Fake, **options: Any) -> None:
    """Let every path have these ends."""

    def opened(processes: RoleProcesses, directory: Path) -> Ends:
        assert directory.is_dir()
        return Ends(near, far)  # type: ignore[arg-type]

    path = MeasuredPath(opened, **options)
    monkeypatch.setattr(measuring, "PATHS", MappingProxyType(dict.fromkeys(Key, path)))


def test_runs_grow_until_one_lasts_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = Fake(), Fake()
    use(monkeypatch, near, far, publish="one", read="steps")
    figure = measure_once(Key.TCP, 1.0)
    assert figure.msg_per_s == pytest.approx(10_000)
    assert figure.latency is None
    assert near.told == ["publish one 1000", "publish one 10000"]
    assert far.told == ["read steps 1000", "read steps 10000"]


def test_the_latency_is_measured_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = Fake(1_000), Fake(1_000)
    use(monkeypatch, near, far, has_latency=True)
    assert measure_once(Key.IPC, 1.0).latency == Latency(10.0, 20.0)
    assert near.told == ["publish many 1000", "ping 400", "ping 4000"]
    assert far.told == ["read batches 1000", "echo 400", "echo 4000"]


def test_one_process_does_both(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Fake(1_000)
    use(monkeypatch, both, both)
    assert measure_once(Key.LOCAL, 1.0).msg_per_s == pytest.approx(1_000)
    assert both.told == ["both - 1000"]


@pytest.mark.parametrize(
    ("far", "what"),
    [
        (Fake(lost=3), "raw_ipc: 997 of 1,000 messages came; no rate is given"),
        (Fake(disorder=1), "raw_ipc: 1,000 messages were sent and came, but not in order; no rate is given"),
        (Fake(lost=-1), "raw_ipc: 1,001 of 1,000 messages came"),
    ],
)
def test_no_rate_of_a_run_with_loss(monkeypatch: pytest.MonkeyPatch, far: Fake, what: str) -> None:
    use(monkeypatch, Fake(), far)
    with pytest.raises(LossError, match=what):
        measure_once(Key.RAW_IPC, 1.0)


def test_each_round_measures_each_path(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([1.0, 10.0, 3.0, 30.0, 2.0, 20.0])
    monkeypatch.setattr(measuring, "measure_once", lambda _key, _seconds: Figure(next(rates)))
    begun: list[tuple[int, Key]] = []
    report = measure([Key.RAW_IPC, Key.IPC], seconds=1, rounds=3, begins=lambda *what: begun.append(what))
    assert begun == [(number, key) for number in range(3) for key in (Key.RAW_IPC, Key.IPC)]
    assert report.figures == {Key.RAW_IPC: Figure(2), Key.IPC: Figure(20)}
    assert report.ratios == {"ipc/raw_ipc": 10}


def test_only_what_was_measured_is_compared() -> None:
    figures = {Key.TCP: Figure(10), Key.IPC: Figure(30), Key.RAW_PROXY: Figure(20)}
    assert Report(figures, this_machine()).ratios == {"tcp/raw_proxy": 0.5}


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ({Key.TCP: 50.0, Key.TCP_UNCOALESCED: 60.0}, 50.0),
        ({Key.TCP_ONE_BY_ONE: 55.0, Key.TCP_UNCOALESCED: 60.0}, 60.0),
        ({Key.LOCAL: None}, None),
    ],
)
def test_the_size_of_the_broker(sizes: dict[Key, float | None], shown: float | None) -> None:
    figures = {key: Figure(1, broker_rss_mib=size) for key, size in sizes.items()}
    assert Report(figures, this_machine()).broker_rss_mib == shown


def test_every_path_is_there() -> None:
    assert list(PATHS) == list(Key)
    for key, path in PATHS.items():
        # With keys it is compared with the same without, which in turn is compared with what pyzmq can do.
        floor = key.replace("_keys", "") if "_keys" in key else "raw_"
        assert path.floor is None or path.floor.startswith(floor), key
