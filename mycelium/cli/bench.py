"""``mycelium bench``: how fast it is on this machine, and how fast ZeroMQ alone is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from mycelium.bench.measure import Report, measure
from mycelium.bench.paths import PATHS, Key
from mycelium.bench.statistics import Figure


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    only: Annotated[
        list[Key] | None,
        typer.Option(help=f"Measure this only: one of {', '.join(Key)}. May be given several times."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often; the median is shown.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=60, help="How long each rate is measured, in each round, about.")
    ] = 0.5,
) -> None:
    """Measure throughput and latency on this machine, and those of ZeroMQ alone beside them.

    Messages of four integers go from one process to another: by ipc, and by tcp through a broker that keeps them in
    its journal. Path local is one process. The raw paths are what pyzmq does without the fabric: nothing is encoded,
    checked, kept or sent again. While it runs, nothing else should. All that it writes is in a temporary directory.

    Exit codes: 0 measured, 1 a process failed or a message was lost, 2 an option is wrong, 130 ended by Ctrl-C.

    Examples:

        mycelium bench

        mycelium bench --only tcp --only raw_proxy --seconds 2 --json
    """
    keys = [key for key in PATHS if not only or key in only]
    report = _measured(keys, rounds, seconds)
    if as_json:
        typer.echo(json.dumps(table_of(report), indent=2))
    else:
        show(Console(), report)


def _measured(keys: list[Key], rounds: int, seconds: float) -> Report:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Drawn anew only now and then: what draws takes time from what is measured.
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=rounds * len(keys))

        def begins(number: int, key: Key) -> None:
            bar.update(task, description=f"round {number + 1}: {key}", completed=number * len(keys) + keys.index(key))
            if not console.is_terminal and key is keys[0]:
                console.print(f"round {number + 1} of {rounds}", highlight=False)

        return measure(keys, seconds=seconds, rounds=rounds, begins=begins)


def table_of(report: Report) -> dict[str, Any]:
    """The report as programs read it."""
    return {
        **{key: _entry(figure) for key, figure in report.figures.items()},
        "broker_rss_mib": None if report.broker_rss_mib is None else round(report.broker_rss_mib, 1),
        "machine": asdict(report.machine),
        "ratios": {name: round(ratio, 3) for name, ratio in report.ratios.items()},
    }


def _entry(figure: Figure) -> dict[str, float]:
    rate: dict[str, float] = {"msg_per_s": round(figure.msg_per_s)}
    if figure.latency is None:
        return rate
    return rate | {name: round(value, 1) for name, value in asdict(figure.latency).items()}


def show(console: Console, report: Report) -> None:
    """The report as people read it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("path", overflow="fold")
    for name in ("messages/s", "p50 µs", "p99 µs", "compared with"):
        table.add_column(name, justify="right", overflow="fold")
    for key, figure in report.figures.items():
        latency = ("", "") if figure.latency is None else (figure.latency.p50_us, figure.latency.p99_us)
        floor = PATHS[key].floor
        ratio = report.ratios.get(f"{key}/{floor}")
        table.add_row(
            key,
            f"{figure.msg_per_s:,.0f}",
            *(value if isinstance(value, str) else f"{value:,.0f}" for value in latency),
            "" if ratio is None else f"{ratio:.2f} × {floor}",
        )
    console.print(table)
    if report.broker_rss_mib is not None:
        console.print(
            f"\nthe broker holds {report.broker_rss_mib:.0f} MiB, beside the pages of its journal", highlight=False
        )
    machine = report.machine
    load = "" if machine.load_average is None else f", load average {machine.load_average:g}"
    console.print(
        f"\n{machine.cpu}, {machine.cores} cores, {machine.kernel}{load}\n"
        f"{machine.python}, pyzmq {machine.pyzmq}, libzmq {machine.libzmq}",
        style="dim",
        highlight=False,
        markup=False,
    )
