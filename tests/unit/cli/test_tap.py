"""What ``mycelium tap`` makes of its arguments, and what it shows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from mycelium.cli.conditions import Condition
from mycelium.cli.tap import Display, Selection, known_contracts, place_of, select_from, write
from mycelium.cli.tapped import Record
from mycelium.core.access import Entry, Rights
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import ConfigError
from mycelium.core.topics import Pattern
from mycelium.spec.model import SystemSpec, load_spec
from tests.security.system import SPEC

NOW = 1_800_000_000_000_000_000
SECOND = 1_000_000_000

TICKS, ORDERS, LETTERS = 100, 200, 65_281


@pytest.fixture
def spec(tmp_path: Path) -> SystemSpec:
    (tmp_path / "system.yaml").write_text(SPEC)
    return load_spec(tmp_path / "system.yaml")


def select(
    spec: SystemSpec, pattern: str | None = None, contract: str | None = None, rights: Rights | None = None
) -> Selection:
    return select_from(known_contracts(spec, Path("system.yaml")), spec, pattern, contract, rights, "tap")


def rights(*entries: tuple[int, str]) -> Rights:
    return Rights(subscribes=tuple(Entry(type_id, Pattern.parse(pattern)) for type_id, pattern in entries))


def test_what_may_be_read_without_keys(spec: SystemSpec) -> None:
    everything = select(spec)
    assert everything.prefixes() == {b""}
    assert set(everything.entries) == {TICKS, ORDERS, LETTERS}
    assert everything.wants(4_711, "any.thing")
    ticks = select(spec, "ticks.x")
    assert ticks.prefixes() == {b"ticks.x\0"}
    assert ticks.wishes() == [(TICKS, ("ticks.x", "ticks.*"))]
    assert ticks.wants(4_711, "ticks.x")
    assert not ticks.wants(TICKS, "ticks.y")
    assert not select(spec, "nothing.>").entries


def test_one_contract_only(spec: SystemSpec) -> None:
    orders = select(spec, contract="Order")
    assert (orders.wants(ORDERS, "orders.x"), orders.wants(TICKS, "ticks.x")) == (True, False)
    assert orders.wishes() == [(ORDERS, (">", "orders.*"))]
    strange = select(spec, "a.*", contract="4711")
    assert strange.wishes() == [(4_711, ("a.*", "a.*"))]
    with pytest.raises(typer.BadParameter, match=r"'Nix' is no contract of system\.yaml; those are Tick, Ord"):
        select(spec, contract="Nix")
    with pytest.raises(typer.BadParameter, match="token 'UPPER' must be"):
        select(spec, "UPPER.\x1b[31m")


def test_with_keys_all_that_is_granted_and_nothing_else(spec: SystemSpec) -> None:
    mine = rights((TICKS, "ticks.*"))
    selection = select(spec, rights=mine)
    assert selection.prefixes() == {b"ticks."}
    assert selection.wishes() == [(TICKS, (">", "ticks.*"))]
    assert (selection.wants(TICKS, "ticks.x"), selection.wants(ORDERS, "orders.x")) == (True, False)
    assert not selection.wants(4_711, "ticks.x")
    assert select(spec, "ticks.x", rights=mine).prefixes() == {b"ticks.x\0"}
    assert select(spec, "ticks.>", rights=mine).prefixes() == {b"ticks."}


@pytest.mark.parametrize(
    ("pattern", "contract", "granted", "sentence"),
    [
        (">", None, [(TICKS, "ticks.*")], "may not read Order on >: system.yaml lets it read none of it"),
        ("orders.x", None, [(TICKS, "ticks.*")], "may not read Order on orders.x"),
        (
            "ticks.*",
            None,
            [(TICKS, "ticks.x")],
            r"may not read Tick on ticks.\*: system.yaml lets it read it only on",
        ),
        ("nothing.*", None, [(TICKS, "ticks.*")], r"lets it read Tick on ticks.\*; that is not nothing.\*"),
        (None, "Order", [(TICKS, "ticks.*")], r"lets it read Tick on ticks.\*; that is not Order on >"),
        (None, "4711", [(TICKS, "ticks.*")], "that is not 4711 on >"),
        (None, None, [], "system.yaml lets it read nothing; that is not >"),
    ],
)
def test_what_is_not_granted_is_a_sentence(
    spec: SystemSpec, pattern: str | None, contract: str | None, granted: list[tuple[int, str]], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        select(spec, pattern, contract, rights(*granted))


def test_code_that_is_not_there_leaves_the_names_of_fields(tmp_path: Path) -> None:
    (tmp_path / "system.yaml").write_text(SPEC.replace("tests.security.services:Tick", "not_there:Tick"))
    known = known_contracts(load_spec(tmp_path / "system.yaml"), tmp_path / "system.yaml")
    assert (known[TICKS].name, known[TICKS].fields, known[TICKS].contract) == ("Tick", ("venue", "number"), None)
    assert known[ORDERS].contract is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("new", (Start.NEW, 0)),
        ("earliest", (Start.EARLIEST, 0)),
        ("last_value", (Start.LAST_VALUE, 0)),
        ("90s", (Start.TIME, NOW - 90 * SECOND)),
        ("10m", (Start.TIME, NOW - 600 * SECOND)),
        ("2h", (Start.TIME, NOW - 7_200 * SECOND)),
        ("1d", (Start.TIME, NOW - 86_400 * SECOND)),
        ("250ms", (Start.TIME, NOW - SECOND // 4)),
        ("99999d", (Start.TIME, 0)),
        ("2027-01-15T08:00:00", (Start.TIME, NOW)),
        ("2027-01-15T08:00:00.000001Z", (Start.TIME, NOW + 1_000)),
        ("2027-01-15T10:00:00+02:00", (Start.TIME, NOW)),
        ("1960-01-01", (Start.TIME, 0)),
    ],
)
def test_where_to_begin(text: str, expected: tuple[Start, int]) -> None:
    assert place_of(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "time", "10", "10x", "-5m", "soon", "2027-13-01", "9" * 30 + "d", "\x1b[31m"])
def test_where_nobody_can_begin(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is none of new, earliest"):
        place_of(text, NOW)


def records(*numbers: int) -> Iterator[Record]:
    for number in numbers:
        yield Record(NOW, "ticks.x", "feeder", 1, number, TICKS, "Tick", {"number": number})


def test_as_many_as_were_asked_for() -> None:
    output, writing = os.pipe()
    display = Display(writing, [Condition.parse("number>1")], 2, in_json=False, fold=True)
    assert display.show(records(1, 2))
    assert not display.show(records(3, 4))
    assert [line.split()[-1] for line in os.read(output, 9_999).decode().splitlines()] == ["number=2", "number=3"]
    assert (display.shown, display.left_out, display.closed) == (2, 1, False)
    os.close(output)
    os.close(writing)


def test_nobody_reads_the_output() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    display = Display(writing, [], None, in_json=True, fold=True)
    assert not display.show(records(1))
    assert (display.shown, display.closed) == (0, True)
    os.close(writing)


def test_a_pipe_that_does_not_wait_and_is_full() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = bytes(range(256)) * 4_000
    found = bytearray()

    def read() -> None:
        while len(found) < len(data):
            found.extend(os.read(reading, 65_536))

    reader = threading.Thread(target=read)
    reader.start()
    write(writing, data)
    reader.join()
    assert found == data
    os.close(reading)
    os.close(writing)
