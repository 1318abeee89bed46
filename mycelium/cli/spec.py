"""``mycelium spec``: hold code and topologies to system.yaml, record contracts, draw the wiring."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mycelium.cli.fabric import asked_stores
from mycelium.cli.security import DEFAULT_OPERATOR, OperatorOption, operator_credentials
from mycelium.cli.system import System, placements
from mycelium.core.errors import ConfigError, Problem
from mycelium.spec.asyncapi import asyncapi_text
from mycelium.spec.check import check_spec, check_topology, topologies_beside
from mycelium.spec.code import SystemCode, import_code
from mycelium.spec.diagram import catalogue, mermaid
from mycelium.spec.live import StoreView, check_live, strangers
from mycelium.spec.lock import (
    breaking_changes,
    lock_path,
    next_lock,
    read_lock,
    unlocked_changes,
    write_lock,
)
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import SPEC_NAME, load_topology
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import StoreBooks, StoreClients, read_books, read_clients
from mycelium.transport.keyring import Credentials

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Hold code and topologies to system.yaml.")

SpecOption = Annotated[Path, typer.Option("--spec", help="The spec.", envvar="MYCELIUM_SPEC")]
DEFAULT_SPEC = Path(SPEC_NAME)
DEFAULT_LIVE = Path("config/distributed.toml")
EXIT_DIFFERENT = 1


@app.command()
def check(
    spec: SpecOption = DEFAULT_SPEC,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", help="A topology to check; may be repeated. By default all of config/*.toml."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Compare with the running system of a topology (config/distributed.toml).")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="With --live: how long a store may take to answer.")] = 5.0,
    operator: OperatorOption = DEFAULT_OPERATOR,
) -> None:
    """Compare system.yaml with the code, the contract lock and the topologies; with --live, with what runs.

    A running system is asked for those who are there, what they read, what they have published, and what they were
    refused since the start. With keys the answers are beyond doubt; without, they are what the clients say. Who has
    tried to come in without a key is named too, and is no difference.

    Exit codes: 0 all agree, 1 they differ, or a store does not answer, 2 a file is malformed.

    Examples:

        mycelium spec check --live --config config/distributed.toml
    """
    if live:
        _check_live(config or [DEFAULT_LIVE], seconds, operator)
        return
    system = load_spec(spec)
    code = import_code(system, spec)
    problems = check_spec(system, code, str(spec))
    lock_file = lock_path(spec)
    lock = read_lock(lock_file)
    breaking = list(breaking_changes(lock, code.contracts, str(lock_file)))
    problems += breaking or unlocked_changes(lock, code.contracts, str(lock_file))
    topologies = config or topologies_beside(spec)
    for path in topologies:
        problems += _topology_problems(system, code, path)
    _show(problems)
    if problems:
        raise typer.Exit(EXIT_DIFFERENT)
    Console(soft_wrap=True).print(
        f"{spec}: {len(system.contracts)} contracts, {len(system.services)} services and "
        f"{len(topologies)} topologies agree with the code",
        highlight=False,
    )


def _check_live(configs: list[Path], seconds: float, operator: str) -> None:
    problems: list[Problem] = []
    notes: list[Problem] = []
    seen = 0
    for config in configs:
        topology = load_topology(config)
        system = load_spec(topology.spec_path)
        credentials = operator_credentials(topology, operator)
        addresses = asked_stores(topology)

        async def ask(
            addresses: tuple[StoreAddress, ...] = addresses, credentials: Credentials | None = credentials
        ) -> list[tuple[StoreClients, StoreBooks]]:
            return [
                (await read_clients(address, seconds, credentials), await read_books(address, seconds, credentials))
                for address in addresses
            ]

        own = {bundle.name: frozenset(bundle.services) for bundle in topology.values.bundles}
        views = [StoreView(clients, books, own.get(books.store, frozenset())) for clients, books in asyncio.run(ask())]
        problems += check_live(system, topology.values.placed, views)
        notes += strangers(views)
        seen += len(topology.values.placed)
    _show([*problems, *notes])
    if problems:
        raise typer.Exit(EXIT_DIFFERENT)
    text = f"the running system is what system.yaml says: {seen} services are there, and read and publish as declared"
    Console(soft_wrap=True).print(text, highlight=False)


def _topology_problems(spec: SystemSpec, code: SystemCode, path: Path) -> list[Problem]:
    topology = load_topology(path)
    problems = check_topology(spec, topology)
    known = [name for name in topology.values.placed if name in code.services]
    try:
        placements(System(topology, spec, code), known)
    except ConfigError as error:
        problems += error.problems
    return problems


@app.command()
def lock(
    spec: SpecOption = DEFAULT_SPEC,
    accept_breaking: Annotated[
        bool,
        typer.Option("--accept-breaking", help="Record changes that peers built before them cannot read."),
    ] = False,
) -> None:
    """Record the contracts of today in system.lock, beside system.yaml.

    Refuses changes that a peer built with the former contracts could not read.
    """
    code = import_code(load_spec(spec), spec)
    if code.problems:
        raise ConfigError(code.problems)
    path = lock_path(spec)
    old = read_lock(path)
    problems = list(breaking_changes(old, code.contracts, str(path)))
    if problems and not accept_breaking:
        _show(problems)
        raise typer.Exit(EXIT_DIFFERENT)
    write_lock(path, next_lock(old, code.contracts))
    Console(soft_wrap=True).print(f"{path}: {len(code.contracts)} contracts recorded", highlight=False)


@app.command()
def diagram(
    spec: SpecOption = DEFAULT_SPEC,
    write: Annotated[Path | None, typer.Option(help="Write the catalogue page with the diagram to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail if this catalogue page is not up to date.")] = None,
) -> None:
    """Print the wiring as a Mermaid flow chart, or write the catalogue page."""
    system = load_spec(spec)
    if write is None and check is None:
        typer.echo(mermaid(system), nl=False)
        return
    _generate("diagram", spec, catalogue(system), write, check)


@app.command()
def asyncapi(
    spec: SpecOption = DEFAULT_SPEC,
    write: Annotated[Path | None, typer.Option(help="Write the document to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail if this document is not up to date.")] = None,
) -> None:
    """Print the system as an AsyncAPI 3.0 document, in YAML: channels, messages with their fields, who does what.

    Exit codes: 0 done, 1 the document is not up to date, 2 a file is malformed, or a class is not there.

    Examples:

        mycelium spec asyncapi --write docs/reference/asyncapi.yaml
    """
    system = load_spec(spec)
    code = import_code(system, spec)
    if code.problems:
        raise ConfigError(code.problems)
    document = asyncapi_text(system, code)
    if write is None and check is None:
        typer.echo(document, nl=False)
        return
    _generate("asyncapi", spec, document, write, check)


def _generate(command: str, spec: Path, text: str, write: Path | None, check: Path | None) -> None:
    """Compare a generated file, and write it."""
    if check is not None and (not check.is_file() or check.read_text(encoding="utf-8") != text):
        _show([Problem(str(check), "", f"is not what {spec} says; run 'mycelium spec {command} --write {check}'")])
        raise typer.Exit(EXIT_DIFFERENT)
    if write is not None:
        try:
            write.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError([Problem(str(write), "", f"cannot be written: {error.strerror}")]) from None


def _show(problems: list[Problem]) -> None:
    console = Console(stderr=True, soft_wrap=True)
    for problem in problems:
        console.print(str(problem), highlight=False, markup=False)
