"""``mycelium demo``: a topology as a whole on this machine, whatever its mode, until its work is done."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from mycelium.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED
from mycelium.cli.merge import merged, unheard
from mycelium.cli.report import prepare_summary, print_summary, write_summary
from mycelium.cli.run import run
from mycelium.cli.supervisor import Part, Result, Supervisor
from mycelium.cli.system import System, load_system, placements
from mycelium.core.errors import ConfigError
from mycelium.core.message import contract_of
from mycelium.observe.logs import LogFormat
from mycelium.service.declarations import handlers_of
from mycelium.service.host import Placement, in_flow_order
from mycelium.spec.check import check_topology
from mycelium.topology.load import load_topology
from mycelium.topology.model import BROKER, ENVIRONMENT_PREFIX, Mode, Topology
from mycelium.transport.ports import free_ports

_HERE = "127.0.0.1"

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


def demo(
    mode: Annotated[
        Mode | None, typer.Option(help="How the services are spread; monolith by default. Picks config/<mode>.toml.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Another topology. It says itself what its mode is.")
    ] = None,
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
    """Run a topology as a whole on this machine until its work is done or a signal comes.

    In mode monolith in this process, as 'mycelium run' does. In the other modes each bundle is a process of its own,
    and in mode distributed the broker is one too; sockets, ports and what they keep on disk are this run's own.
    When the services that work of their own accord are done, the other processes are told to end, publishers first.
    A process that fails ends the run.

    Exit codes: 0 done, 1 a process failed or the books do not agree, 2 a file or option is wrong, 130 ended by Ctrl-C.
    A second Ctrl-C ends everything at once.

    Examples:

        mycelium demo --mode bundled --summary build/summary.json

        mycelium demo --config config/distributed.toml
    """
    path = config or Path("config") / f"{mode or Mode.MONOLITH}.toml"
    values = load_topology(path).values
    if mode not in (None, values.deployment.mode):
        raise typer.BadParameter(f"{path} is of mode {values.deployment.mode.value!r}", param_hint="--mode")
    if values.deployment.mode is Mode.MONOLITH:
        run(config=path, summary=summary, log_level=log_level, log_format=log_format, quiet=quiet)
        return
    system = load_system(path)
    problems = check_topology(system.spec, system.topology)
    if problems:
        raise ConfigError(problems)
    hosted = placements(system, list(values.placed))
    if summary is not None:
        prepare_summary(summary)
    options = [
        *(["--log-level", log_level] if log_level else []),
        *(["--log-format", log_format] if log_format else []),
    ]
    with tempfile.TemporaryDirectory(prefix="mycelium-") as made:
        directory = Path(made)
        parts = parts_of(system, hosted, directory, options, quiet=quiet)
        result = _supervised(parts, {**overrides(values, directory), **os.environ}, values, quiet=quiet)
        paths = {bundle.name: _summary_path(directory, bundle.name) for bundle in values.bundles}
        wrong = [f"{bundle} left no summary" for bundle, path in paths.items() if not path.is_file()]
        summaries = [json.loads(path.read_text(encoding="utf-8")) for path in paths.values() if path.is_file()]
    if not wrong:
        figures = merged(summaries, system.spec.counted)
        wrong = unheard(figures, readers(hosted))
        if wrong:
            figures["ledger"]["balanced"] = False
        elif not figures["ledger"]["balanced"]:
            wrong.append("the ledger does not balance")
        if summary is not None:
            write_summary(summary, figures)
        if not quiet:
            print_summary(Console(), figures, list(system.spec.counted))
    _end(result, wrong)


def parts_of(
    system: System, hosted: Sequence[Placement], directory: Path, options: Sequence[str], *, quiet: bool
) -> list[Part]:
    """The processes of a topology in the order in which they end: publishers before their readers, the broker last.

    Args:
        system: its topology is not a monolith.
        hosted: all its services.
        directory: where each bundle leaves its summary.
        options: of every process.
        quiet: no progress.
    """
    common = ("--config", str(system.topology.path), *options)
    order = {placement.service_type.name: place for place, placement in enumerate(in_flow_order(hosted))}
    working = {placement.service_type.name for placement in hosted if placement.service_type.has_run()}
    parts = []
    for bundle in sorted(
        system.topology.values.bundles, key=lambda bundle: min(order[name] for name in bundle.services)
    ):
        summary = ("--summary", str(_summary_path(directory, bundle.name)))
        command = _mycelium("run", "--bundle", bundle.name, *common, *summary, *(["--quiet"] if quiet else []))
        parts.append(Part(bundle.name, command, leads=bool(working.intersection(bundle.services))))
    if system.topology.values.deployment.mode is Mode.DISTRIBUTED:
        parts.append(Part(BROKER, _mycelium("broker", *common)))
    return parts


def overrides(values: Topology, directory: Path) -> dict[str, str]:
    """What keeps this run apart from another one at the same time, as environment variables."""
    found = {"DEPLOYMENT__STATE_DIR": str(directory / "state"), "INTER_BUNDLE__SOCKET_DIR": str(directory / "sockets")}
    processes = [bundle.name for bundle in values.bundles]
    keys: list[str] = []
    if values.deployment.mode is Mode.DISTRIBUTED:
        found["BROKER__HOST"] = _HERE
        processes.append(BROKER)
        keys += ["BROKER__PUBLISH_PORT", "BROKER__FRAMES_PORT", "BROKER__CONTROL_PORT"]
    watched = [name for name in processes if values.http.port_of(name) is not None]
    ports = iter(free_ports(len(keys) + len(watched)))
    found |= {key: str(next(ports)) for key in keys}
    if watched:
        found["HTTP__PORTS"] = json.dumps({name: next(ports) for name in watched})
    return {f"{ENVIRONMENT_PREFIX}{name}": value for name, value in found.items()}


def readers(hosted: Sequence[Placement]) -> dict[str, str]:
    """The subscriptions that read all messages of a contract which these services publish, with its name."""
    published = {kind for placement in hosted for kind in placement.service_type.publishes}
    return {
        f"{placement.service_type.name}.{declared.method}": contract_of(declared.message_type).name
        for placement in hosted
        for declared in handlers_of(placement.service_type)
        if declared.pattern is None and declared.message_type in published
    }


def _mycelium(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", "mycelium", *arguments


def _supervised(parts: Sequence[Part], environment: Mapping[str, str], values: Topology, *, quiet: bool) -> Result:
    terminal = Console(stderr=True, soft_wrap=True)
    width = max(len(part.name) for part in parts)
    colours = {part.name: _COLOURS[place % len(_COLOURS)] for place, part in enumerate(parts)}

    def show(name: str, line: str) -> None:
        terminal.print(Text.assemble((f"{name:<{width}} | ", colours[name]), line))

    # A process may take half of its time to stop working and all of it to drain; it also has to start and to end.
    supervisor = Supervisor(
        parts, environment=environment, show=show, patience=2 * values.deployment.drain_seconds + 10
    )
    names = ", ".join(part.name for part in parts)
    return supervisor.run(terminal.status(names) if terminal.is_terminal and not quiet else nullcontext())


def _summary_path(directory: Path, bundle: str) -> Path:
    return directory / f"{bundle}.summary.json"


def _end(result: Result, problems: Sequence[str]) -> None:
    terminal = Console(stderr=True, soft_wrap=True)
    if result.signals.count(signal.SIGINT) > 1:
        terminal.print("ended at once; what was not handled is lost", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    failed = (*result.failed, *problems)
    for sentence in failed:
        terminal.print(Text(sentence, style="bold red"))
    if failed:
        raise typer.Exit(EXIT_FAILED)
    if signal.SIGINT in result.signals:
        raise typer.Exit(EXIT_INTERRUPTED)
