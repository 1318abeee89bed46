"""``mycelium run``: host the services of a topology, or one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import stamina
import structlog
import typer
from rich.console import Console

from mycelium.bus.clock import SystemClock
from mycelium.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED
from mycelium.cli.progress import ProgressView
from mycelium.cli.report import print_summary
from mycelium.cli.system import System, load_system, placements
from mycelium.core.errors import ConfigError, PathError, Problem
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.service.host import Host, Outcome, Placement, summary_of
from mycelium.spec.check import check_topology
from mycelium.topology.load import require_built

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("host")


def run(
    service: Annotated[
        str | None, typer.Argument(help="Run this service only, instead of all that the topology places.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/monolith.toml"
    ),
    summary: Annotated[
        Path | None, typer.Option(help="Write the figures of the run to this file at exit, as JSON.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least severe level shown: debug, info, warning, error. The topology's by default."),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines look. The topology's by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary on the terminal.")] = False,
) -> None:
    """Host the services of a topology until their work is done or a signal comes.

    SIGTERM and Ctrl-C drain: sources stop, what has been published is handled, then the process ends.
    A second Ctrl-C ends it at once.

    Exit codes: 0 done, 1 a service failed or the ledger does not balance, 2 a file or option is wrong,
    130 ended by Ctrl-C.

    Examples:

        mycelium run --config config/monolith.toml --summary build/summary.json

        mycelium run polygon_adapter --config config/polygon-recorded.toml
    """
    system = load_system(config)
    require_built(system.topology)
    values = system.topology.values
    problems = check_topology(system.spec, system.topology)
    if problems:
        raise ConfigError(problems)
    hosted = placements(system, [_placed(system, service)] if service else list(values.placed))
    level = log_level if log_level is not None else values.logging.level
    if level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(
            f"{level!r} is no level; choose debug, info, warning or error", param_hint="--log-level"
        )
    if summary is not None:
        _prepare(summary)
    terminal = Console(stderr=True, soft_wrap=True)
    clock = SystemClock()
    # The runner logs retries itself, with service and handler.
    stamina.instrumentation.set_on_retry_hooks([])
    with ProgressView(terminal, clock.time_ns, quiet=quiet) as view:
        # After the bars have started: they take over standard error, so that lines and bars do not mix.
        configure_logging(level=level, form=log_format or LogFormat(values.logging.format), stream=sys.stderr)
        interrupts: list[signal.Signals] = []
        try:
            outcome = asyncio.run(_host(hosted, clock, values.deployment.drain_seconds, view, interrupts))
        except asyncio.CancelledError:
            log.warning("ended at once; what was not handled is lost")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    figures = summary_of(outcome, system.spec.counted)
    if summary is not None:
        _write(summary, figures)
    if not quiet:
        print_summary(Console(), {**figures, "figures": list(system.spec.counted)}, outcome.ledger)
    for health in outcome.failed:
        terminal.print(f"service {health.service} failed: {health.error}", style="bold red", highlight=False)
    if outcome.failed or not outcome.drained or not outcome.ledger.balanced:
        raise typer.Exit(EXIT_FAILED)
    if signal.SIGINT in interrupts:
        raise typer.Exit(EXIT_INTERRUPTED)


def _placed(system: System, service: str) -> str:
    if service not in system.topology.values.placed:
        raise ConfigError(
            [
                Problem(
                    str(system.topology.path),
                    "bundles",
                    f"places no such service; placed are {', '.join(system.topology.values.placed)}",
                    service,
                )
            ]
        )
    return service


async def _host(
    hosted: list[Placement],
    clock: SystemClock,
    drain_seconds: float,
    view: ProgressView,
    interrupts: list[signal.Signals],
) -> Outcome:
    host = Host(hosted, clock=clock, drain_seconds=drain_seconds, report=view.report)
    with _signals(host, interrupts):
        return await host.run()


@contextlib.contextmanager
def _signals(host: Host, interrupts: list[signal.Signals]) -> Iterator[None]:
    """Drain at the first SIGTERM or SIGINT, end at the second SIGINT."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def received(number: signal.Signals) -> None:
        if number in interrupts and number is signal.SIGINT and task is not None:
            task.cancel()
        log.info("stopping", signal=number.name, hint="Ctrl-C once more ends at once")
        interrupts.append(number)
        host.drain()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _prepare(path: Path) -> None:
    """Find out before a long run, not after it, that its result cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"its directory cannot be made: {error.strerror}")]) from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError([Problem(str(path), "", "cannot be written; name a file in a directory of yours")])


def _write(path: Path, figures: dict[str, object]) -> None:
    """Whole or not at all: a reader never meets half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PathError(str(path), f"cannot be written: {error.strerror}") from None
