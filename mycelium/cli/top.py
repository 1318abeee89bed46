"""``mycelium top``: the figures of a running system, as they change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mycelium.cli.fabric import asked_stores
from mycelium.cli.guard import EXIT_FAILED, EXIT_USAGE
from mycelium.cli.http import endpoint_of
from mycelium.cli.security import OperatorOption, operator_credentials
from mycelium.cli.values import plain
from mycelium.core.errors import ConfigError, PathError, Problem
from mycelium.observe.logs import configure_logging
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import LoadedTopology, load_topology
from mycelium.topology.model import BROKER, Mode

if TYPE_CHECKING:
    from mycelium.cli.top_model import Model, Picture
    from mycelium.cli.top_source import Said

TOP_OPERATOR = "top"


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one picture as text, and end.")] = False,
    wait: Annotated[
        float, typer.Option(min=0.1, help="With --once: seconds to wait for two messages of every process.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: one JSON object, for programs.")] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a store may take to answer.")] = 5.0,
    operator: OperatorOption = TOP_OPERATOR,
) -> None:
    """Look at a running system: its processes, services, streams, subscriptions, broker, ledger, and drift.

    Every process says once a second what it does. Shown are rates and latencies of the last second, and what is not
    as it should be: processes that are gone, messages that are missing, and what differs from system.yaml.
    In mode monolith it asks /metrics of the process instead, for which the topology says [http] port.

    On the screen ? shows the keys, and q ends it. Without a terminal there is --once.

    Exit codes: 0 ended, 1 nobody answers, 2 a file or option is wrong, or there is no terminal, 130 ended by Ctrl-C.

    Examples:

        mycelium top

        mycelium top --config config/bundled.toml

        mycelium top --once --json | jq '.tables.streams[] | .published_per_s'
    """
    if as_json and not once:
        raise typer.BadParameter("shows one picture; add --once", param_hint="--json")
    # What draws on the terminal does so by way of standard error.
    if not once and not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        Console(stderr=True, soft_wrap=True).print(
            "error: there is no terminal to draw on; --once prints one picture", highlight=False, markup=False
        )
        raise typer.Exit(EXIT_USAGE)
    topology = load_topology(config)
    spec = load_spec(topology.spec_path)
    said = _source(topology, operator, seconds)
    configure_logging(level="error", stream=sys.stderr)
    # Here, so that other commands start without it.
    from mycelium.cli.top_model import Model

    model = Model(spec, topology.values.placed, _processes(topology), time.monotonic_ns())
    if once:
        picture = asyncio.run(_picture(model, said, wait))
        _print(picture, in_json=as_json)
        return
    code = asyncio.run(_show(model, said, _about(spec, topology)))
    if code:
        raise typer.Exit(code)


def _source(topology: LoadedTopology, operator: str, seconds: float) -> AbstractAsyncContextManager[Said]:
    from mycelium.cli.top_source import from_metrics, from_stores

    if topology.values.deployment.mode is not Mode.MONOLITH:
        return from_stores(asked_stores(topology), operator_credentials(topology, operator), operator, seconds)
    endpoint = endpoint_of(topology, None)
    if endpoint is None:
        message = "is missing: in mode 'monolith' there is no store to ask, and top asks /metrics; set [http] port"
        raise ConfigError([Problem(str(topology.path), "http.port", message)])
    return from_metrics(endpoint, str(Mode.MONOLITH.value), seconds, time.time_ns)


def _processes(topology: LoadedTopology) -> tuple[str, ...]:
    """The processes that should run."""
    values = topology.values
    if values.deployment.mode is Mode.MONOLITH:
        return (str(Mode.MONOLITH.value),)
    bundles = tuple(bundle.name for bundle in values.bundles)
    return (*bundles, BROKER) if values.deployment.mode is Mode.DISTRIBUTED else bundles


def _about(spec: SystemSpec, topology: LoadedTopology) -> str:
    return f"{spec.system}, {topology.values.deployment.mode.value}"


async def _listen(model: Model, said: Said) -> None:
    async for message in said:
        model.take(message, time.monotonic_ns())


# --- one picture -----------------------------------------------------------------------------


async def _picture(model: Model, source: AbstractAsyncContextManager[Said], wait: float) -> Picture:
    """What there is when every process has said something twice, or when the time is up.

    Raises:
        PathError: nobody has said anything.
    """
    async with source as said:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for message in said:
                    model.take(message, time.monotonic_ns())
                    if model.has_rates:
                        break
        if not model.has_heard:
            raise PathError("statistics", f"no process has said anything in {wait:g} s; are they running?")
        return model.picture(time.monotonic_ns())


def _print(picture: Picture, *, in_json: bool) -> None:
    if in_json:
        shown = {name: table.as_json() for name, table in picture.tables.items()}
        typer.echo(json.dumps({"summary": [part for part, _ in picture.headline], "tables": plain(shown)}, indent=2))
        return
    from mycelium.cli.top_tables import is_figure

    console = Console(highlight=False)
    # Into a pipe or file everything goes, however wide it is.
    width = console.width if console.is_terminal else None
    if width is None:
        console = Console(highlight=False, width=10_000)
    console.print(Text("  ").join(Text(part, style=alarm.value) for part, alarm in picture.headline))
    for table in picture.tables.values():
        console.print()
        console.print(Text.assemble((table.name, "bold"), "" if table.rows else f"  {table.empty}"))
        if not table.rows:
            continue
        sheet = table.fitting(width)
        drawn = RichTable(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for number, title in zip(sheet.columns, sheet.titles, strict=True):
            drawn.add_column(Text(title), justify="right" if is_figure(table.columns[number]) else "left", no_wrap=True)
        for row, cells in zip(table.rows, sheet.cells, strict=True):
            drawn.add_row(*(Text(cell, style=row.alarm.value) for cell in cells))
        console.print(drawn)


# --- the screen ------------------------------------------------------------------------------


async def _show(model: Model, source: AbstractAsyncContextManager[Said], about: str) -> int:
    """Show the screen until it is told to end; the exit code."""
    from mycelium.cli.top_screen import TopApp

    async with source as said:
        app = TopApp(model, time.monotonic_ns, about, plain="NO_COLOR" in os.environ)
        listening = asyncio.create_task(_listen(model, said))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, app.exit, 0)
        listening.add_done_callback(lambda _: app.exit(EXIT_FAILED))
        try:
            code = await app.run_async()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            ended = listening.done()
            listening.cancel()
            (failure,) = await asyncio.gather(listening, return_exceptions=True)
        if ended and isinstance(failure, Exception):
            raise failure
        return EXIT_FAILED if code is None else code
