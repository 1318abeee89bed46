"""``mycelium check``: what of a topology is reachable from this host, and who reads where."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mycelium.cli.fabric import asked_stores, readers_elsewhere
from mycelium.cli.guard import EXIT_FAILED
from mycelium.cli.security import DEFAULT_OPERATOR, OperatorOption, operator_credentials
from mycelium.cli.system import System, load_system
from mycelium.core.errors import ConfigError
from mycelium.spec.check import check_topology
from mycelium.topology.model import Mode
from mycelium.transport.reachability import StoreState, look_at


@dataclass(frozen=True)
class Wiring:
    """A handler that must have joined a store.

    Args:
        reader: the handler, as the ledger calls it.
        bundle: that hosts it.
        store: whose messages it reads.
        joined: whether it has; None if the store does not answer.
    """

    reader: str
    bundle: str
    store: str
    joined: bool | None


def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long an endpoint may take to answer.")] = 3.0,
    operator: OperatorOption = DEFAULT_OPERATOR,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Try every endpoint of a topology from this host, and see whether everyone who is to read has joined.

    It may be done while the system runs: nothing is published, and no reader is left behind.

    Exit codes: 0 all is well, 1 something is not reachable or has not joined, 2 a file or option is wrong.

    Examples:

        mycelium check --config config/distributed.toml
    """
    system = load_system(config)
    problems = check_topology(system.spec, system.topology)
    if problems:
        raise ConfigError(problems)
    addresses = asked_stores(system.topology)
    credentials = operator_credentials(system.topology, operator)

    async def look() -> list[StoreState]:
        return list(await asyncio.gather(*(look_at(address, seconds, credentials) for address in addresses)))

    stores = asyncio.run(look())
    wiring = wiring_of(system, stores)
    good = all(found.problem is None for store in stores for found in store.endpoints) and all(
        wire.joined for wire in wiring
    )
    if as_json:
        endpoints = [asdict(found) for store in stores for found in store.endpoints]
        typer.echo(json.dumps({"good": good, "endpoints": endpoints, "readers": list(map(asdict, wiring))}, indent=2))
    else:
        _show(Console(), stores, wiring, good=good)
    if not good:
        raise typer.Exit(EXIT_FAILED)


def wiring_of(system: System, stores: list[StoreState]) -> list[Wiring]:
    """Who must have joined which store: every handler that reads what a bundle other than its own publishes."""
    values = system.topology.values
    by_name = {store.name: store.readers for store in stores}
    wanted: dict[tuple[str, str], None] = {}
    for bundle in values.bundles:
        store = bundle.name if values.deployment.mode is Mode.BUNDLED else stores[0].name
        for reader in sorted(readers_elsewhere(system, list(bundle.services))):
            wanted[store, reader] = None
    home = {service: bundle.name for bundle in values.bundles for service in bundle.services}
    found = []
    for store, reader in wanted:
        readers = by_name[store]
        found.append(
            Wiring(reader, home[reader.partition(".")[0]], store, None if readers is None else reader in readers)
        )
    return sorted(found, key=lambda wire: (wire.store, wire.reader))


def _show(console: Console, stores: list[StoreState], wiring: list[Wiring], *, good: bool) -> None:
    endpoints = _table("store", "port", "endpoint", "state")
    for store in stores:
        for found in store.endpoints:
            state = "[green]✓ answers[/]" if found.problem is None else f"[bold red]✗ {found.problem}[/]"
            endpoints.add_row(store.name, found.kind, found.endpoint, state)
    console.print(endpoints)
    if wiring:
        readers = _table("reader", "bundle", "at store", "state")
        for wire in wiring:
            readers.add_row(wire.reader, wire.bundle, wire.store, _STATES[wire.joined])
        console.print()
        console.print(readers)
    console.print("\n[green]✓ all is well[/]" if good else "\n[bold red]✗ not all is well[/]")


_STATES = {
    True: "[green]✓ has joined[/]",
    False: "[bold red]✗ has not joined[/]",
    None: "[bold red]✗ the store does not answer[/]",
}


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
