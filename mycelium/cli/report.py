"""The figures of a run, for a person."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from mycelium.core.ledger import Ledger


def print_summary(console: Console, summary: dict[str, Any], ledger: Ledger) -> None:
    """Print what was published, how fast, and whether the books balance."""
    figures = Table(box=None, show_header=False, pad_edge=False)
    figures.add_column(style="bold")
    figures.add_column(justify="right")
    for name in summary["figures"]:
        figures.add_row(name, f"{summary[name]:,}")
    figures.add_row("rate", f"{summary['rate_per_s']:,.0f} /s over {summary['seconds']:.2f} s")
    latency = summary["latency_us"]
    figures.add_row("latency p50 / p99", f"{latency['p50']:,.0f} / {latency['p99']:,.0f} µs")

    intakes = _table("read from outside", "", "read", "accepted", "ignored", "refused")
    for intake in ledger.intakes:
        ignored, refused = sum(intake.ignored.values()), sum(intake.refused.values())
        intakes.add_row(f"{intake.service}.{intake.name}", *_shown(intake.read, intake.accepted, ignored, refused))
    routes = _table("ledger", "subscription", "published", "delivered", "dropped", "queued")
    for name, totals in ledger.subscriptions.items():
        routes.add_row(name, *_shown(totals.published, totals.delivered, totals.dropped, totals.queued))

    parts: list[Any] = [figures]
    parts += [Text(), intakes] if ledger.intakes else []
    parts += [Text(), routes] if ledger.routes else []
    causes = _causes(ledger)
    if causes:
        parts += [Text(), Text("set aside, by cause", style="bold")]
        parts += [Text(f"{number:>8,}  {cause}") for cause, number in causes.items()]
    balanced = (
        Text("✓ the ledger balances", style="green")
        if ledger.balanced
        else Text(f"✗ the ledger does not balance: {ledger.missing} message(s) unaccounted for", style="bold red")
    )
    console.print(Group(*parts, Text(), balanced))


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", overflow="fold")
    return table


def _shown(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _causes(ledger: Ledger) -> dict[str, int]:
    causes: dict[str, int] = {}
    for intake in ledger.intakes:
        for kind, counts in (("ignored", intake.ignored), ("refused", intake.refused)):
            for cause, number in counts.items():
                causes[f"{intake.service} {kind}: {cause}"] = number
    for cause, number in ledger.dropped.items():
        causes[f"dropped: {cause}"] = number
    for cause, number in ledger.frames_refused.items():
        causes[f"frames that could not be read: {cause}"] = number
    unread = sum(stream.unread for stream in ledger.streams)
    if unread:
        causes["published with no subscriber"] = unread
    return causes
