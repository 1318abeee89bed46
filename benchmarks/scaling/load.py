"""How long a message takes while others pass on another topic, at half of the highest rate of these."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scaling.measure import Opened, Side, check_all_came, start_raw, start_typed
from benchmarks.scaling.pings import WARM_UP_SECONDS, Quantiles
from benchmarks.scaling.raw import RawWiring
from benchmarks.scaling.shapes import Part, Shape
from benchmarks.scaling.typed import TypedWiring
from mycelium.bench.paths import start_broker, start_proxy
from mycelium.bench.processes import PATIENCE, RoleProcess, RoleProcesses
from mycelium.bench.statistics import next_count
from mycelium.bench.workplace import ipc_store

PATHS = ("ipc", "tcp")

PART_OF_HIGHEST = 0.5

LOAD = 2
"""The lane of the load; the others are 0 and 1."""

TAIL_SECONDS = 0.5
"""How much longer the load lasts than what is measured under it."""


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """Half round trips of a message at a time.

    Args:
        highest_per_s: the highest rate of the load, by itself.
        load_per_s: its rate while it was measured under it, as it was kept.
        idle: with nothing else to do.
        loaded: under load.
    """

    highest_per_s: float
    load_per_s: float
    idle: Quantiles
    loaded: Quantiles


@dataclass(frozen=True, slots=True)
class Four:
    """The processes: two that ping, and two of the load."""

    near: RoleProcess
    far: RoleProcess
    source: RoleProcess
    sink: RoleProcess


PARTS = (
    Part("near", publishers=(0,), readers=(0,), reads=1),
    Part("far", publishers=(1,), readers=(1,), reads=0),
    Part("source", publishers=(LOAD,)),
    Part("sink", readers=(LOAD,), reads=LOAD),
)


def measure_load(side: Side, path: str, seconds: float) -> UnderLoad:
    """Measure a path, idle and under load, on the same processes.

    Args:
        side: whose path it is.
        path: one of :data:`PATHS`.
        seconds: for which messages go to and fro, each time.

    Raises:
        DisorderError: messages were lost or out of order.
        RoleError: a process failed.
    """
    name = f"{side}, {path} under load"
    with tempfile.TemporaryDirectory(prefix="my-") as directory, RoleProcesses() as processes:
        four = _WAYS[side, path](processes, Path(directory))
        for process in (four.near, four.far, four.source, four.sink):
            process.wait_ready()
        patience = PATIENCE + 10 * seconds
        highest = _highest(name, four, seconds, patience)
        idle = _ping(four, seconds, patience)
        rate = round(PART_OF_HIGHEST * highest)
        count = round(rate * (WARM_UP_SECONDS + seconds + TAIL_SECONDS))
        four.sink.tell(f"read {count}")
        four.source.tell(f"pace {rate} {count}")
        loaded = _ping(four, seconds, patience)
        load = four.source.answer(seconds=patience)
        check_all_came(name, count, [four.sink.answer(seconds=patience)])
        return UnderLoad(highest, count / (load["ended"] - load["started"]), idle, loaded)


def _highest(name: str, four: Four, seconds: float, patience: float) -> float:
    # Nobody looks at what the middle uses here, and over ipc there is none.
    opened = Opened(name, Shape(), [four.source], [four.sink], four.source)
    count = 1_000
    while True:
        took, figure = opened.run(count, patience)
        if took >= seconds / 2:
            return figure.delivered_per_s
        count = next_count(count, took, seconds)


def _ping(four: Four, seconds: float, patience: float) -> Quantiles:
    four.far.tell("echo -")
    told = four.near.ask(f"ping {seconds}", seconds=patience)
    four.far.answer()
    return Quantiles(**told)


def _typed_tcp(processes: RoleProcesses, directory: Path) -> Four:
    _, address = start_broker(processes, directory)
    return Four(*(start_typed(processes, part, TypedWiring((address,))) for part in PARTS))


def _typed_ipc(processes: RoleProcesses, directory: Path) -> Four:
    near, far, source = (ipc_store(directory, part.name) for part in PARTS[:3])
    wirings = (
        TypedWiring((far,), near),
        TypedWiring((near,), far),
        # One that has a store of its own, as each bundle of a host does: it reads from others, and here from nobody.
        TypedWiring((near,), source),
        TypedWiring((source,), ipc_store(directory, "sink")),
    )
    return Four(*(start_typed(processes, part, wiring) for part, wiring in zip(PARTS, wirings, strict=True)))


def _raw_tcp(processes: RoleProcesses, _directory: Path) -> Four:
    _, front, back = start_proxy(processes)
    wiring = RawWiring(front, back, awaits=(0, 1, LOAD))
    return Four(*(start_raw(processes, part, wiring) for part in PARTS))


def _raw_ipc(processes: RoleProcesses, directory: Path) -> Four:
    near, far, source = (f"ipc://{directory}/{part.name}" for part in PARTS[:3])
    wirings = (
        RawWiring(near, far, binds=True, awaits=(1,)),
        RawWiring(far, near, binds=True, awaits=(0,)),
        RawWiring(source, source, binds=True, awaits=(LOAD,)),
        RawWiring(source, source),
    )
    return Four(*(start_raw(processes, part, wiring) for part, wiring in zip(PARTS, wirings, strict=True)))


_WAYS: dict[tuple[Side, str], Callable[[RoleProcesses, Path], Four]] = {
    (Side.OURS, "ipc"): _typed_ipc,
    (Side.OURS, "tcp"): _typed_tcp,
    (Side.FLOOR, "ipc"): _raw_ipc,
    (Side.FLOOR, "tcp"): _raw_tcp,
}
