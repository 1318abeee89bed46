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

    books = Table(title="ledger", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("what", "read or published", "delivered or accepted", "set aside", "queued"):
        books.add_column(heading, justify="left" if heading == "what" else "right")
    for intake in ledger.intakes:
        aside = sum(intake.ignored.values()) + sum(intake.refused.values())
        books.add_row(f"{intake.service} ← {intake.name}", f"{intake.read:,}", f"{intake.accepted:,}", f"{aside:,}", "")
    for name, row in _by_subscription(ledger).items():
        books.add_row(f"→ {name}", *(f"{number:,}" for number in row))

    parts: list[Any] = [figures, Text(), books]
    causes = _causes(ledger)
    if causes:
        parts += [Text(), Text("set aside, by cause", style="bold")]
        parts += [Text(f"{number:>8,}  {cause}") for cause, number in causes.items()]
    balanced = (
        Text("✓ the ledger balances", style="green")
        if ledger.balanced
        else Text(f"✗ the ledger does not balance: {_missing(ledger)} message(s) unaccounted for", style="bold red")
    )
    console.print(Group(*parts, Text(), balanced))


def _by_subscription(ledger: Ledger) -> dict[str, tuple[int, int, int, int]]:
    rows: dict[str, tuple[int, int, int, int]] = {}
    for route in ledger.routes:
        published, delivered, aside, queued = rows.get(route.subscription, (0, 0, 0, 0))
        rows[route.subscription] = (
            published + route.published,
            delivered + route.delivered,
            aside + sum(route.dropped.values()),
            queued + route.queued,
        )
    return dict(sorted(rows.items()))


def _causes(ledger: Ledger) -> dict[str, int]:
    causes: dict[str, int] = {}
    for intake in ledger.intakes:
        for kind, counts in (("ignored", intake.ignored), ("refused", intake.refused)):
            for cause, number in counts.items():
                causes[f"{intake.service} {kind}: {cause}"] = number
    for cause, number in ledger.dropped.items():
        causes[f"dropped: {cause}"] = number
    unread = sum(stream.unread for stream in ledger.streams)
    if unread:
        causes["published with no subscriber"] = unread
    return causes


def _missing(ledger: Ledger) -> int:
    return sum(abs(entry.missing) for entry in (*ledger.routes, *ledger.intakes))
