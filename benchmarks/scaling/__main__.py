"""``python -m benchmarks.scaling``: measures, prints tables, and writes what is asked for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.scaling.growth import Growth, families, measure_growth
from benchmarks.scaling.load import PATHS, UnderLoad, measure_load
from benchmarks.scaling.measure import Side
from benchmarks.scaling.memory import Sample, measure_memory
from benchmarks.scaling.page import page
from benchmarks.scaling.results import Results, as_json
from benchmarks.scaling.shapes import Shape
from benchmarks.scaling.tables import show
from mycelium.bench.machine import this_machine
from mycelium.core.errors import MyceliumError

KINDS = ("growth", "memory", "load")

WIDTH = 132
"""Of the tables where there is no terminal that says how wide it is, as in a log."""

SIZES = {"readers": (1, 10, 50), "publishers": (1, 8, 64), "topics": (1, 100, 5_000)}
TINY_SIZES = {"readers": (1, 3), "publishers": (1, 3), "topics": (1, 20)}

LOAD_SECONDS = 5.0
"""For which messages go to and fro. Chosen by us: p99.9 says something when there are thousands."""


class Progress:
    """Says what is under way, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """Say it: where somebody looks, and in a log that nobody reads not."""
        if self._console.is_terminal:
            self._console.print(text, style="dim", highlight=False)


def grown(options: argparse.Namespace, progress: Progress) -> list[Growth]:
    """Measure the families."""

    def begins(number: int, side: Side, shape: Shape) -> None:
        progress.say(f"round {number + 1} of {options.rounds}: {side}, {shape}")

    sizes = TINY_SIZES if options.tiny else SIZES
    seconds = 0.01 if options.tiny else options.seconds
    return measure_growth(families(**sizes), seconds=seconds, rounds=options.rounds, begins=begins)


def remembered(options: argparse.Namespace, progress: Progress) -> dict[Side, list[Sample]]:
    """Look at what stands in the middle, over time."""

    def measured(side: Side) -> list[Sample]:
        return measure_memory(
            side,
            messages=20_000 if options.tiny else options.messages,
            samples=2 if options.tiny else 10,
            begins=lambda passed: progress.say(f"memory: {side}, {passed:,} messages so far"),
        )

    return {side: measured(side) for side in Side}


def loaded(options: argparse.Namespace, progress: Progress) -> dict[str, dict[Side, UnderLoad]]:
    """Measure latencies under load."""

    def measured(side: Side, path: str) -> UnderLoad:
        progress.say(f"load: {side}, {path}")
        return measure_load(side, path, 0.05 if options.tiny else LOAD_SECONDS)

    return {path: {side: measured(side, path) for side in Side} for path in PATHS}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    some = f"only these of {', '.join(KINDS)}"
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=some)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run of growth (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of growth; the median counts (default %(default)s)")
    parser.add_argument("--messages", type=int, default=10_000_000, help="of memory (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="write a page that shows them")
    parser.add_argument("--tiny", action="store_true", help="as little as possible: only to see that all of it runs")
    options = parser.parse_args()
    progress, machine = Progress(), this_machine()
    try:
        results = Results(
            machine,
            options.rounds,
            grown(options, progress) if "growth" in options.only else (),
            remembered(options, progress) if "memory" in options.only else {},
            loaded(options, progress) if "load" in options.only else {},
        )
    except MyceliumError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(Console(width=None if sys.stdout.isatty() else WIDTH), results)
    if options.json:
        options.json.write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")
    if options.plot:
        options.plot.write_text(page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
