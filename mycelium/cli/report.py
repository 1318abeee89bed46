"""The figures of a run: for a person on the terminal, for programs in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from mycelium.core.errors import ConfigError, PathError, Problem


def print_summary(console: Console, summary: Mapping[str, Any], figures: Sequence[str]) -> None:
    """Print what was published, how fast, and whether the books balance.

    Args:
        console: where to.
        summary: as :func:`~mycelium.service.host.summary_of` makes it.
        figures: which of its figures come first.
    """
    ledger = summary["ledger"]
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold")
    shown.add_column(justify="right")
    for name in figures:
        shown.add_row(name, f"{summary[name]:,}")
    shown.add_row("rate", f"{summary['rate_per_s']:,.0f} /s over {summary['seconds']:.2f} s")
    latency = summary["latency_us"]
    shown.add_row("latency p50 / p99", f"{latency['p50']:,.0f} / {latency['p99']:,.0f} µs")

    intakes = _table("read from outside", "", "read", "accepted", "ignored", "refused")
    for name, intake in ledger["intake"].items():
        ignored, refused = sum(intake["ignored"].values()), sum(intake["refused"].values())
        intakes.add_row(name, *_shown(intake["read"], intake["accepted"], ignored, refused))
    routes = _table("ledger", "subscription", "published", "delivered", "dropped", "queued")
    for name, totals in ledger["subscriptions"].items():
        routes.add_row(name, *_shown(*(totals[key] for key in ("published", "delivered", "dropped", "queued"))))

    parts: list[Any] = [shown]
    parts += [Text(), intakes] if ledger["intake"] else []
    parts += [Text(), routes] if ledger["subscriptions"] else []
    causes = _causes(ledger)
    if causes:
        parts += [Text(), Text("set aside, by cause", style="bold")]
        parts += [Text(f"{number:>8,}  {cause}") for cause, number in causes.items()]
    balanced = (
        Text("✓ the ledger balances", style="green")
        if ledger["balanced"]
        else Text(f"✗ the ledger does not balance: {_missing(ledger)} message(s) unaccounted for", style="bold red")
    )
    console.print(Group(*parts, Text(), balanced))


def prepare_summary(path: Path) -> None:
    """Find out before a long run, not after it, that its result cannot be written.

    Raises:
        ConfigError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"its directory cannot be made: {error.strerror}")]) from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError([Problem(str(path), "", "cannot be written; name a file in a directory of yours")])


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a summary whole or not at all: a reader never meets half a file.

    Raises:
        PathError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PathError(str(path), f"cannot be written: {error.strerror}") from None


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", overflow="fold")
    return table


def _shown(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _causes(ledger: Mapping[str, Any]) -> dict[str, int]:
    causes: dict[str, int] = {}
    for name, intake in ledger["intake"].items():
        for kind in ("ignored", "refused"):
            for cause, number in intake[kind].items():
                told = f"{name.split('.')[0]} {kind}: {cause}"
                causes[told] = causes.get(told, 0) + number
    for cause, number in ledger["dropped"].items():
        causes[f"dropped: {cause}"] = number
    for cause, number in ledger["frames_refused"].items():
        causes[f"frames that could not be read: {cause}"] = number
    for cause, number in ledger["refused"].items():
        causes[f"refused by the broker: {cause}"] = number
    if ledger["unconfirmed"]:
        causes["not confirmed by the broker"] = ledger["unconfirmed"]
    if ledger["unread"]:
        causes["published with no subscriber"] = ledger["unread"]
    return causes


def _missing(ledger: Mapping[str, Any]) -> int:
    """Messages that are not accounted for, at least: of one subscription a repeat may hide a loss."""
    routes = (
        totals["published"] - totals["delivered"] - totals["dropped"] - totals["queued"]
        for totals in ledger["subscriptions"].values()
    )
    intakes = (
        intake["read"] - intake["accepted"] - sum(intake["ignored"].values()) - sum(intake["refused"].values())
        for intake in ledger["intake"].values()
    )
    return sum(map(abs, (*routes, *intakes)))
