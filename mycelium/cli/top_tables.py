"""Tables as values: what ``mycelium top`` shows, before anybody has drawn it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from mycelium.cli.values import escaped

NOTHING = "–"
"""Shown where there is no figure."""

GAP = 2
"""Characters between two columns."""

LONGEST = 60
"""Characters of one cell. What is longer is cut with an ellipsis; the details have all of it."""

SHORTEST = 8
"""Characters to which a column is cut at most."""

Value = str | float | None


class Kind(enum.Enum):
    """What the values of a column are."""

    TEXT = "text"
    COUNT = "count"
    MISSING = "missing"
    """A count that must be 0."""
    RATE = "rate"
    """Per second."""
    SECONDS = "seconds"
    PERCENT = "percent"
    BYTES = "bytes"


class Alarm(enum.Enum):
    """How a row is to be looked at. What it is about stands in the row in words, too."""

    NONE = ""
    WARNING = "yellow"
    BAD = "bold red"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        name: for programs, with the unit.
        title: for people.
        kind: what its values are.
        keep: where there is no room for all columns those with a higher number go first. 0 never goes.
    """

    name: str
    title: str
    kind: Kind = Kind.TEXT
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        key: what it is about, which no other row of the table has.
        values: by column.
        alarm: how it is to be looked at.
    """

    key: tuple[str, ...]
    values: tuple[Value, ...]
    alarm: Alarm = Alarm.NONE


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: for programs and keys.
        columns: its columns.
        rows: its rows, in their order.
        empty: what is shown instead of no rows.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str = "nothing"

    def filtered(self, text: str) -> Table:
        """The rows that have a text in one of their cells, in either case."""
        wanted = text.casefold()
        if not wanted:
            return self
        return replace(
            self, rows=tuple(row for row in self.rows if any(wanted in cell.casefold() for cell in self.cells(row)))
        )

    def sorted_by(self, column: int | None) -> Table:
        """In the order of a column: figures from the highest, texts from the first; as it is for None."""
        if column is None:
            return self
        rows = sorted(self.rows, key=lambda row: _order(row.values[column]))
        return replace(self, rows=tuple(rows))

    def fitting(self, width: int | None) -> Sheet:
        """The columns for which there is room in so many characters, as they are shown; all of them for None."""
        cells = [self.cells(row) for row in self.rows]
        widths = [
            max([len(column.title), *(len(row[number]) for row in cells)]) for number, column in enumerate(self.columns)
        ]
        shown = list(range(len(self.columns)))
        while width is not None and sum(widths[number] + GAP for number in shown) > width:
            last = max(shown, key=lambda number: (self.columns[number].keep, number))
            if not self.columns[last].keep:
                break
            shown.remove(last)
        # What is left is wider only where a text is long: the longest of them gives way.
        beyond = 0 if width is None else sum(widths[number] + GAP for number in shown) - width
        if beyond > 0:
            longest = max(shown, key=lambda number: widths[number])
            widths[longest] = max(SHORTEST, widths[longest] - beyond)
        return Sheet(
            shown,
            [self.columns[number].title for number in shown],
            [widths[number] for number in shown],
            [[_cut(row[number], widths[number]) for number in shown] for row in cells],
        )

    def cells(self, row: Row) -> tuple[str, ...]:
        """A row as it is shown."""
        return tuple(text(value, column.kind) for value, column in zip(row.values, self.columns, strict=True))

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for programs."""
        return [
            {column.name: value for column, value in zip(self.columns, row.values, strict=True)} for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What of a table is shown.

    Args:
        columns: the numbers of its columns.
        titles: of these.
        widths: of these, in characters.
        cells: by row.
    """

    columns: list[int]
    titles: list[str]
    widths: list[int]
    cells: list[list[str]]


def _cut(shown: str, width: int) -> str:
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def text(value: Value, kind: Kind) -> str:
    """A value as it is shown. Whatever it holds, no control character is left."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        shown = escaped(value)
        return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
    return _FORMS[kind](value)


def _order(value: Value) -> tuple[int, float, str]:
    """Figures from the highest, then texts from the first, then what there is none of."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value.casefold()) if isinstance(value, str) else (0, -value, "")


def _rate(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g}{unit}" if value * factor < 1000 else f"{value * factor:,.0f}{unit}"
    return f"{value * 1e6:.0f}µs"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:,.1f}TiB"


_FORMS: dict[Kind, Callable[[float], str]] = {
    Kind.TEXT: lambda value: f"{value:,.10g}",
    Kind.COUNT: lambda value: f"{value:,.0f}",
    Kind.MISSING: lambda value: f"✗ {value:,.0f}" if value else "0",
    Kind.RATE: _rate,
    Kind.SECONDS: _seconds,
    Kind.PERCENT: lambda value: f"{value:.0f}%",
    Kind.BYTES: _bytes,
}


def is_figure(column: Column) -> bool:
    """Whether its values stand at the right."""
    return column.kind is not Kind.TEXT


def worst(alarms: Iterable[Alarm]) -> Alarm:
    """The one that is to be looked at first."""
    order = (Alarm.NONE, Alarm.WARNING, Alarm.BAD)
    return max(alarms, key=order.index, default=Alarm.NONE)
