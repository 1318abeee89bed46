"""Tables as values: how figures look, and which columns there is room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.cli.top_tables import GAP, Alarm, Column, Kind, Row, Table, Value, text, worst
from tests.unit.cli.test_values import is_harmless

COLUMNS = (
    Column("who", "who"), Column("rate_per_s", "rate/s", Kind.RATE, keep=1),
    Column("p99_s", "p99", Kind.SECONDS, keep=3), Column("drops", "drops", Kind.COUNT, keep=2),
)  # fmt: skip


def table(*rows: tuple[Value, ...]) -> Table:
    return Table("t", COLUMNS, tuple(Row((str(row[0]),), row) for row in rows))


TWO = table(("pinger", 48.0, 0.0012, 3.0), ("ponger.on_ping", 7.0, None, 12_000.0))


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (None, Kind.COUNT, "–"),
        (12_345.0, Kind.COUNT, "12,345"),
        (0.0, Kind.MISSING, "0"),
        (12.0, Kind.MISSING, "✗ 12"),
        (0.0, Kind.RATE, "0"),
        (3.14159, Kind.RATE, "3.1"),
        (123_456.7, Kind.RATE, "123,457"),
        (0.0, Kind.SECONDS, "0µs"),
        (0.000_85, Kind.SECONDS, "850µs"),
        (0.001_234, Kind.SECONDS, "1.23ms"),
        (3.5, Kind.SECONDS, "3.5s"),
        (4_000.0, Kind.SECONDS, "4,000s"),
        (12.4, Kind.PERCENT, "12%"),
        (512.0, Kind.BYTES, "512B"),
        (3 * 1024.0**2, Kind.BYTES, "3MiB"),
        (5 * 1024.0**4, Kind.BYTES, "5.0TiB"),
        ("a\x1b[31mb", Kind.TEXT, r"a\x1b[31mb"),
        ("x" * 100, Kind.TEXT, "x" * 59 + "…"),
    ],
)
def test_how_values_look(value: Value, kind: Kind, shown: str) -> None:
    assert text(value, kind) == shown


@given(st.text(), st.sampled_from(Kind))
def test_nothing_that_a_terminal_would_obey_is_left(value: str, kind: Kind) -> None:
    assert is_harmless(text(value, kind))


def test_the_filter_looks_at_what_is_shown_in_either_case() -> None:
    assert [row.key for row in TWO.filtered("PONG").rows] == [("ponger.on_ping",)]
    assert [row.key for row in TWO.filtered("12,0").rows] == [("ponger.on_ping",)]
    assert TWO.filtered("nothing").rows == ()
    assert TWO.filtered("") is TWO


def test_figures_are_sorted_from_the_highest_texts_from_the_first() -> None:
    keys = [[row.key[0][:2] for row in TWO.sorted_by(column).rows] for column in (None, 0, 1, 2, 3)]
    assert keys == [["pi", "po"], ["pi", "po"], ["pi", "po"], ["pi", "po"], ["po", "pi"]]
    assert [row.key for row in table(("b", 1.0, None, 1.0), ("A", 2.0, 1.0, 1.0)).sorted_by(0).rows] == [("A",), ("b",)]


def test_what_there_is_no_room_for_goes_in_its_order() -> None:
    full = TWO.fitting(None)
    assert full.titles == ["who", "rate/s", "p99", "drops"]
    assert full.cells[1] == ["ponger.on_ping", "7.0", "–", "12,000"]
    assert full.widths == [14, 6, 5, 6]
    assert TWO.fitting(39).titles == full.titles
    assert TWO.fitting(38).titles == ["who", "rate/s", "drops"]
    assert TWO.fitting(31).titles == ["who", "rate/s"]
    assert TWO.fitting(23).titles == ["who"]
    assert TWO.fitting(23).columns == [0]


@given(st.integers(10, 120))
def test_it_is_never_wider_than_there_is_room(width: int) -> None:
    sheet = TWO.fitting(width)
    assert sum(wide + GAP for wide in sheet.widths) <= width
    assert all(len(cell) <= wide for row in sheet.cells for cell, wide in zip(row, sheet.widths, strict=True))


def test_a_long_text_is_cut_where_nothing_else_can_go() -> None:
    assert TWO.fitting(12).cells == [["pinger"], ["ponger.on…"]]


def test_for_programs_values_stay_what_they_are() -> None:
    assert TWO.as_json()[1] == {"who": "ponger.on_ping", "rate_per_s": 7.0, "p99_s": None, "drops": 12_000.0}


def test_the_worst_alarm() -> None:
    assert worst([]) is Alarm.NONE
    assert worst([Alarm.WARNING, Alarm.BAD, Alarm.NONE]) is Alarm.BAD
