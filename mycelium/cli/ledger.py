"""``mycelium ledger``: the books of a running system, stream by stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from mycelium.cli.fabric import asked_stores
from mycelium.cli.guard import EXIT_FAILED
from mycelium.cli.security import DEFAULT_OPERATOR, OperatorOption, operator_credentials
from mycelium.topology.load import load_topology
from mycelium.transport.books import StoreBooks, read_books


def ledger(
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a store may take to answer.")] = 5.0,
    operator: OperatorOption = DEFAULT_OPERATOR,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Show the books of a running system: for every stream and reader, what was published and what became of it.

    Published are the messages that a store has, from where the reader began. They are delivered, dropped for a
    cause that is named, or waiting for the reader. What is missing is none of these, and there must be nothing.

    Exit codes: 0 the books balance, 1 they do not, or a store does not answer, 2 a file or option is wrong.

    Examples:

        mycelium ledger --config config/distributed.toml
    """
    topology = load_topology(config)
    addresses = asked_stores(topology)
    credentials = operator_credentials(topology, operator)

    async def ask() -> list[StoreBooks]:
        return list(await asyncio.gather(*(read_books(address, seconds, credentials) for address in addresses)))

    books = asyncio.run(ask())
    rows = list(rows_of(books))
    balanced = not any(row["missing"] for row in rows)
    if as_json:
        refused = {store.store: store.refused for store in books}
        offences = {store.store: [msgspec.structs.asdict(one) for one in store.offences] for store in books}
        figures = {"balanced": balanced, "refused": refused, "offences": offences, "rows": rows}
        typer.echo(json.dumps(figures, indent=2))
    else:
        _show(Console(), books, rows, balanced=balanced)
    if not balanced:
        raise typer.Exit(EXIT_FAILED)


def rows_of(books: Iterable[StoreBooks]) -> Iterable[dict[str, Any]]:
    """One row for each stream and reader; a stream that nobody reads has one without a reader."""
    for store in books:
        for book in store.streams:
            stream = book.stream
            head = {
                "store": store.store,
                "topic": stream.topic,
                "source": store.names.get(stream.source, f"{stream.source:016x}"),
                "epoch": stream.epoch,
            }
            if not book.readers:
                yield {
                    **head, "reader": None, "published": book.last, "delivered": 0, "dropped": {}, "waiting": 0,
                    "missing": 0,
                }  # fmt: skip
            for reader, account in sorted(book.readers.items()):
                yield {
                    **head,
                    "reader": reader,
                    "published": max(book.last, account.cursor) - account.joined,
                    "delivered": account.delivered,
                    "dropped": account.dropped,
                    "waiting": max(0, book.last - account.cursor),
                    "missing": account.missing,
                }


def _show(console: Console, books: list[StoreBooks], rows: list[dict[str, Any]], *, balanced: bool) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stream", overflow="fold")
    table.add_column("reader", overflow="fold")
    for name in ("published", "delivered", "dropped", "waiting"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['topic']} [dim]{row['source']}[/]",
            row["reader"] or "[dim]nobody[/]",
            f"{row['published']:,}",
            f"{row['delivered']:,}",
            f"{sum(row['dropped'].values()):,}",
            f"{row['waiting']:,}",
        )
    if rows:
        console.print(table)
    else:
        console.print("nothing has been published that is kept")
    causes: dict[str, int] = {}
    for row in rows:
        for cause, number in row["dropped"].items():
            causes[cause] = causes.get(cause, 0) + number
    for store in books:
        for cause, number in store.refused.items():
            causes[f"{store.store}: {cause}"] = number
    if causes:
        console.print("\n[bold]dropped and refused, by cause[/]")
        for cause, number in sorted(causes.items()):
            console.print(f"{number:>8,}  {cause}", highlight=False)
    offences = [offence for store in books for offence in store.offences]
    if offences:
        console.print("\n[bold]refused, by whom[/]")
        for offence in offences:
            text = f"{offence.count:>8,}  {offence.who}: {offence.cause} {offence.what}"
            console.print(text.rstrip(), highlight=False, markup=False)
    missing = sum(abs(row["missing"]) for row in rows)
    console.print(
        "\n[green]✓ the ledger balances[/]" if balanced else f"\n[bold red]✗ {missing:,} messages are missing[/]"
    )
