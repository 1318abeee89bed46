"""``mycelium run``: host the services of a topology, or one of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import stamina
import structlog
import typer
from rich.console import Console

from mycelium import __version__
from mycelium.bus.clock import SystemClock
from mycelium.cli import completion
from mycelium.cli.fabric import fabric_of, readers_elsewhere, reading_of
from mycelium.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED
from mycelium.cli.http import Endpoint, endpoint_of, serving
from mycelium.cli.progress import ProgressView
from mycelium.cli.reload import Reloader
from mycelium.cli.report import prepare_summary, print_summary, write_summary
from mycelium.cli.security import keys_watched, warn_if_open
from mycelium.cli.system import System, load_system, placements
from mycelium.cli.tracing import tracing
from mycelium.core.errors import ConfigError, Problem
from mycelium.observe.figures import Figures
from mycelium.observe.logs import LogFormat, configure_logging, set_level
from mycelium.observe.tracing import Tracer
from mycelium.service.figures import tell_host
from mycelium.service.host import Host, Outcome, Placement, summary_of
from mycelium.service.telling import Telling
from mycelium.spec.check import check_topology
from mycelium.topology.model import Mode, Topology

CHANGEABLE = frozenset({"logging.level", "deployment.drain_seconds"})
"""What running services take up from a changed topology."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("host")


def run(
    service: Annotated[
        str | None,
        typer.Argument(
            help="Run this service only, instead of all that the topology places.",
            autocompletion=completion.services,
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="Run the services of this bundle, where the mode makes each bundle a process.",
            autocompletion=completion.bundles,
        ),
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
    A second Ctrl-C ends it at once. A changed topology is taken up on SIGHUP, or by itself, as far as it concerns
    log level and drain time; so are other keys.

    Exit codes: 0 done, 1 a service failed, the ledger does not balance or the HTTP port is taken, 2 a file or option is
    wrong, 130 ended by Ctrl-C.

    Examples:

        mycelium run --config config/monolith.toml --summary build/summary.json

        mycelium run --config config/bundled.toml --bundle market

        mycelium run polygon_adapter --config config/polygon-recorded.toml
    """
    system = load_system(config)
    values = system.topology.values
    problems = check_topology(system.spec, system.topology)
    if problems:
        raise ConfigError(problems)
    names = _wanted(system, service, bundle)
    hosted = [
        replace(placed, reading=reading_of(system.topology, name))
        for name, placed in zip(names, placements(system, names), strict=True)
    ]
    level = log_level if log_level is not None else values.logging.level
    if level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(
            f"{level!r} is no level; choose debug, info, warning or error", param_hint="--log-level"
        )
    process = _process_of(system, names)
    endpoint = endpoint_of(system.topology, process)
    if summary is not None:
        prepare_summary(summary)
    terminal = Console(stderr=True, soft_wrap=True)
    clock = SystemClock()
    # The runner logs retries itself, with service and handler.
    stamina.instrumentation.set_on_retry_hooks([])
    with ProgressView(terminal, clock.time_ns, quiet=quiet) as view:
        # After the bars have started: they take over standard error, so that lines and bars do not mix.
        configure_logging(level=level, form=log_format or LogFormat(values.logging.format), stream=sys.stderr)
        warn_if_open(system.topology)
        interrupts: list[signal.Signals] = []
        try:
            with tracing(system.topology, system.spec.system, process or "monolith", clock) as tracer:
                outcome = asyncio.run(_host(system, hosted, clock, view, interrupts, endpoint, tracer))
        except asyncio.CancelledError:
            log.warning("ended at once; what was not handled is lost")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    figures = summary_of(outcome, system.spec.counted)
    if summary is not None:
        write_summary(summary, figures)
    if not quiet:
        print_summary(Console(), figures, list(system.spec.counted))
    for health in outcome.failed:
        terminal.print(f"service {health.service} failed: {health.error}", style="bold red", highlight=False)
    if outcome.ledger.unconfirmed:
        terminal.print(
            f"{outcome.ledger.unconfirmed} messages were not confirmed by the broker", style="bold red", highlight=False
        )
    if outcome.failed or not outcome.drained or not outcome.ledger.balanced or outcome.ledger.unconfirmed:
        raise typer.Exit(EXIT_FAILED)
    if signal.SIGINT in interrupts:
        raise typer.Exit(EXIT_INTERRUPTED)


def _wanted(system: System, service: str | None, bundle: str | None) -> list[str]:
    """The names of the services that this process is to run."""
    topology = system.topology
    bundles = {placed.name: list(placed.services) for placed in topology.values.bundles}
    mode, key, option = topology.values.deployment.mode, "bundles", "--bundle"
    if service is not None:
        if bundle is not None:
            raise typer.BadParameter("a service is named already; leave one of them out", param_hint=option)
        if service not in topology.values.placed:
            known = ", ".join(topology.values.placed)
            message = f"places no such service; placed are {known}"
            raise ConfigError([Problem(topology.origin(key), key, message, service)])
        return [service]
    if mode is Mode.MONOLITH:
        if bundle is not None:
            message = f"mode {mode.value!r} runs all bundles in one process; leave {option} out"
            raise typer.BadParameter(message, param_hint=option)
        return list(topology.values.placed)
    if bundle is None:
        message = f"mode {mode.value!r} runs each bundle in a process of its own; name one: {', '.join(bundles)}"
        raise typer.BadParameter(message, param_hint=option)
    if bundle not in bundles:
        message = f"has no such bundle; those are {', '.join(bundles)}"
        raise ConfigError([Problem(topology.origin(key), key, message, bundle)])
    return bundles[bundle]


def _process_of(system: System, names: list[str]) -> str | None:
    """The bundle whose process this is, or whose service this process runs; None where all bundles share one."""
    values = system.topology.values
    if values.deployment.mode is Mode.MONOLITH:
        return None
    return next(bundle.name for bundle in values.bundles if names[0] in bundle.services)


def _told_as(system: System, names: list[str]) -> str:
    """What the process that runs these services calls itself in its statistics.

    Its bundle, or ``monolith``; the service where it is only one of a bundle, which others may run beside it.
    """
    bundle = _process_of(system, names)
    if bundle is None:
        return str(Mode.MONOLITH.value)
    (services,) = (placed.services for placed in system.topology.values.bundles if placed.name == bundle)
    return bundle if len(names) == len(services) else names[0]


async def _host(
    system: System,
    hosted: list[Placement],
    clock: SystemClock,
    view: ProgressView,
    interrupts: list[signal.Signals],
    endpoint: Endpoint | None,
    tracer: Tracer | None,
) -> Outcome:
    names = [placed.service_type.name for placed in hosted]
    fabric = fabric_of(system, names)

    def tell(figures: Figures) -> None:
        tell_host(figures, host.statistics())
        if tracer is not None:
            tracer.tell(figures)

    host = Host(
        hosted,
        clock=clock,
        drain_seconds=system.topology.values.deployment.drain_seconds,
        report=view.report,
        tracer=tracer,
        fabric=fabric,
        readers=readers_elsewhere(system, names) if fabric is not None else frozenset(),
        telling=Telling(_told_as(system, names), __version__, tell, clock),
    )

    def take_up(values: Topology) -> None:
        set_level(values.logging.level)
        host.drain_seconds = values.deployment.drain_seconds

    with _signals(host, interrupts):
        keys = keys_watched(system.topology, host.renew_keys)
        async with (
            serving(endpoint, host.unready, tell, clock.time_ns),
            Reloader(system.topology, CHANGEABLE, take_up, keys).watching(),
        ):
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
