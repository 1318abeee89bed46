"""What was measured, as people read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.growth import SLACK, Growth
from benchmarks.scaling.load import PART_OF_HIGHEST, UnderLoad
from benchmarks.scaling.measure import Side
from benchmarks.scaling.memory import JOURNAL_BYTES, Sample
from benchmarks.scaling.pings import Quantiles
from benchmarks.scaling.results import Results
from mycelium.bench.machine import Machine

GROWTH_NOTE = (
    "msg/s: delivered, of all readers together. CPU s/M: CPU seconds of all processes for a million of them. per core: "
    "messages for each CPU second, as a part of those of the first row. falls less: by no more than zeromq's does, "
    f"but for {SLACK:.0%}. zeromq: pyzmq alone through its proxy, one message a send."
)

NAMES = " / ".join(Side)


def show(console: Console, results: Results) -> None:
    """Print all tables, and what the machine is."""
    for growth in results.growth:
        console.print(growth_table(growth), "")
    if results.growth:
        console.print(GROWTH_NOTE, "", style="dim", highlight=False)
    if results.memory:
        console.print(memory_table(results.memory), "")
    if results.load:
        console.print(load_table(results.load), "")
    console.print(describe(results.machine), style="dim", highlight=False, markup=False)


def describe(machine: Machine) -> str:
    """The machine, in two lines."""
    load = "" if machine.load_average is None else f", load average {machine.load_average:g} before"
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.kernel}{load}\n"
        f"{machine.python}, pyzmq {machine.pyzmq}, libzmq {machine.libzmq}"
    )


def growth_table(growth: Growth) -> Table:
    """Of one family."""
    table = _table(f"{growth.family.name}: {NAMES}", growth.family.grows)
    for name in ("msg/s", "ratio", "CPU s/M", "rate", "per core", "falls less"):
        table.add_column(name, justify="right", no_wrap=True)
    for size, figures in growth.figures.items():
        ours, floor = figures[Side.OURS], figures[Side.FLOOR]
        table.add_row(
            f"{size:,}",
            f"{ours.delivered_per_s:,.0f} / {floor.delivered_per_s:,.0f}",
            f"{ours.delivered_per_s / floor.delivered_per_s:.2f}",
            f"{ours.cpu_per_million:.2f} / {floor.cpu_per_million:.2f}",
            _pair(growth.kept_rate(size, side) for side in Side),
            _pair(growth.kept(size, side) for side in Side),
            "yes" if growth.holds(size) else "NO",
        )
    return table


def memory_table(memory: Mapping[Side, Sequence[Sample]]) -> Table:
    """What stands in the middle, over time."""
    table = _table(f"broker / proxy over time; a journal of {JOURNAL_BYTES >> 20} MiB at most", "messages")
    for name in ("MiB in memory", "journal MiB", "its CPU s/M", "msg/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for ours, floor in zip(memory[Side.OURS], memory[Side.FLOOR], strict=True):
        table.add_row(
            f"{ours.messages:,}",
            " / ".join("–" if one.rss_mib is None else f"{one.rss_mib:.1f}" for one in (ours, floor)),
            f"{ours.journal_mib:.0f}",
            f"{ours.cpu_per_million:.2f} / {floor.cpu_per_million:.2f}",
            f"{ours.delivered_per_s:,.0f} / {floor.delivered_per_s:,.0f}",
        )
    return table


def load_table(load: Mapping[str, Mapping[Side, UnderLoad]]) -> Table:
    """Half round trips."""
    table = _table(f"half round trip in µs, while {PART_OF_HIGHEST:.0%} of the highest rate passes", "path")
    for name in ("load msg/s", "p50", "p99", "p99.9", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    for path, sides in load.items():
        for side, one in sides.items():
            table.add_row(f"{side} {path}", "idle", *_quantiles(one.idle))
            table.add_row("", f"{one.load_per_s:,.0f}", *_quantiles(one.loaded))
    return table


def _quantiles(found: Quantiles) -> tuple[str, ...]:
    return (*(f"{value:,.0f}" for value in (found.p50_us, found.p99_us, found.p999_us)), f"{found.count:,}")


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    return table


def _pair(parts: Iterable[float]) -> str:
    return " / ".join(f"{part:.2f}" for part in parts)
