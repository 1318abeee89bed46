"""What a tap shows of frames, good ones and others."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from contracts.market import SwapEvent
from contracts.values import I256, Address
from mycelium import Message
from mycelium.cli.tapped import MIN_WIDTH, Known, Record, Records, as_json, as_text, iso
from mycelium.core.envelope import Envelope, source_id
from mycelium.core.message import PayloadCodec, contract_of
from mycelium.core.trace import Mark, MessageId, TraceContext, with_marks
from tests.unit.cli.test_values import is_harmless, values

EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202e\x9b31m"

TWO = msgspec.msgpack.encode([["a", "x"], ["b", "y"]])

TIME_NS = 1_800_000_000_123_456_789


class Note(Message, type_id=7, topic="notes.{lane}"):
    lane: str
    text: str
    number: int = 0


def known(*, with_class: bool = True) -> dict[int, Known]:
    contract = contract_of(Note)
    return {7: Known("Note", ("lane", "text", "number"), contract if with_class else None)}


def envelope(payload: bytes, count: int = 1, type_id: int = 7, sequence: int = 1) -> Envelope:
    return Envelope("notes.a", type_id, count, source_id("writer"), 9, sequence, TIME_NS, payload)


def records(frame: Envelope, skip: int = 0, *, with_class: bool = True, name: str = "writer") -> list[Record]:
    return list(Records(known(with_class=with_class), lambda _source: name).of(frame, skip))


def shown(record: Record, width: int | None = None, *, fold: bool = True) -> list[str]:
    return [line.plain for line in as_text(record, width, fold=fold)]


def test_messages_are_numbered_from_the_frames_first() -> None:
    payload = PayloadCodec(Note).encode([Note("a", "x", 1), Note("a", "y", 2), Note("a", "z", 3)])
    found = records(envelope(payload, 3, sequence=40), skip=1)
    assert [(one.sequence, one.fields["number"]) for one in found] == [(41, 2), (42, 3)]  # type: ignore[call-overload]
    assert (found[0].name, found[0].source, found[0].topic, found[0].epoch) == ("Note", "writer", "notes.a", 9)


def test_a_traced_message_says_so_and_what_caused_it() -> None:
    cause = MessageId(source_id("writer"), 5, 3, "a.b")
    mark = Mark(2, 2, TraceContext(0xAB, 0xCD), cause)
    plain, traced = records(with_marks(envelope(b"\x92\x91\x01\x91\x02", count=2), [mark]), with_class=False)
    assert "trace_id" not in json.loads(as_json(plain))
    said = json.loads(as_json(traced))
    assert (said["trace_id"], said["cause"]) == (f"{0xAB:032x}", "a.b@writer.5.3")
    assert traced.id == f"{traced.topic}@writer.{traced.epoch}.2"


def test_a_class_that_is_not_there_leaves_the_names() -> None:
    payload = msgspec.msgpack.encode([["a", "x", 1, "more"], ["a"]])
    found = records(envelope(payload, 2), with_class=False)
    assert found[0].fields == {"lane": "a", "text": "x", "number": 1, "3": "more"}
    assert found[1].fields == {"lane": "a"}
    assert found[0].problem is None


def test_a_contract_that_is_not_known_is_shown_without_names() -> None:
    (found,) = records(envelope(msgspec.msgpack.encode([["a", 5, b"\1"]]), type_id=4_711))
    assert (found.name, found.fields) == (None, ("a", 5, b"\1"))
    assert shown(found)[0].endswith("notes.a writer#1 type id 4711 a 5 0x01")
    assert json.loads(as_json(found))["fields"] == ["a", 5, "0x01"]
    assert json.loads(as_json(found))["type"] is None
    (table,) = records(envelope(msgspec.msgpack.encode([{"k": 1, 2: 3}]), type_id=4_711))
    assert table.fields == {"k": 1, "2": 3}


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (msgspec.msgpack.encode([["a", 5]]), ("a", 5)),  # a number where a text should be
        (msgspec.msgpack.encode([5]), (5,)),
        (b"\xc1", {"payload": b"\xc1"}),
        (b"", {"payload": b""}),
        (b"\x91" * 5_000, {"payload": b"\x91" * 5_000}),
        (msgspec.msgpack.encode({"a": 1}), {"payload": msgspec.msgpack.encode({"a": 1})}),
        (TWO, {"payload": TWO}),
    ],
)  # fmt: skip
def test_what_is_not_as_the_contract_says_is_shown_with_the_reason(payload: bytes, fields: Any) -> None:
    (found,) = records(envelope(payload))
    assert found.fields == fields
    assert found.problem is not None
    assert json.loads(as_json(found))["problem"] == found.problem
    assert all(is_harmless(line) for line in shown(found))


@given(st.binary(max_size=60), st.integers(1, 3), st.sampled_from([7, 8]))
def test_any_payload_makes_records(payload: bytes, count: int, type_id: int) -> None:
    for found in records(envelope(payload, count, type_id)):
        assert is_harmless(as_json(found))
        json.loads(as_json(found))
        assert all(is_harmless(line) for line in shown(found))


def test_hostile_texts_are_shown_as_escapes_wherever_they_stand() -> None:
    payload = PayloadCodec(Note).encode([Note("a", EVIL)])
    (found,) = records(envelope(payload), name=EVIL)
    (raw,) = records(envelope(msgspec.msgpack.encode([{EVIL: EVIL}]), type_id=8), name=EVIL)
    for record in (found, raw):
        for line in (*shown(record), *shown(record, 40), *shown(record, 40, fold=False), as_json(record)):
            assert is_harmless(line), line
        assert "\\x1b]0;owned\\x07" in "".join(shown(record))


def test_a_reason_may_repeat_what_came_and_is_escaped_too() -> None:
    found = Record(TIME_NS, "a.b", "writer", 1, 1, 8, None, (), EVIL)
    assert all(is_harmless(line) for line in (*shown(found), as_json(found)))


@given(st.lists(values, max_size=4), st.integers(1, 200))
def test_no_line_is_wider_than_the_terminal(fields: list[Any], width: int) -> None:
    record = Record(TIME_NS, "a.b", "writer", 1, 1, 8, None, tuple(fields))
    whole = shown(record)
    assert len(whole) == 1
    for fold in (True, False):
        lines = shown(record, width, fold=fold)
        assert all(cell_len(line) <= max(width, MIN_WIDTH) for line in lines)
        assert all(is_harmless(line) for line in lines)
        assert fold or len(lines) == 1
    folded = shown(record, width)
    assert "".join(folded).replace(" ", "") == whole[0].replace(" ", "")  # nothing is lost


def test_a_narrow_terminal() -> None:
    payload = PayloadCodec(Note).encode([Note("a", "eight words that do not fit into one line", 1)])
    (found,) = records(envelope(payload))
    (cut,) = shown(found, 48, fold=False)
    assert cut.endswith("…")
    assert cell_len(cut) <= 48
    head, *rest = shown(found, 48)
    assert head.endswith("notes.a writer#1 Note")
    assert rest == ["    lane=a", "    text='eight words that do not fit into one l", "    ine' number=1"]


def colours(**options: Any) -> str:
    payload = PayloadCodec(Note).encode([Note("a", "x", 1)])
    (found,) = records(envelope(payload))
    console = Console(file=io.StringIO(), width=100, legacy_windows=False, **options)
    for line in as_text(found, 100, fold=True):
        console.print(line)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in colours(force_terminal=True, color_system="standard")
    assert "\x1b[" not in colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in colours(force_terminal=True, color_system="standard")


words = st.text(st.sampled_from("abc-9"), min_size=1, max_size=9)
events = st.builds(
    SwapEvent, words, words, st.binary(min_size=20, max_size=20).map(Address), st.integers(0, 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=40),
    st.integers(-(2**255), 2**255 - 1).map(I256), st.integers(-(2**255), 2**255 - 1).map(I256), st.integers(0, 9),
)  # fmt: skip

BACK = {"int": int, "str": str, "bytes": lambda text: bytes.fromhex(text[2:]), "Address": Address, "I256": I256}


@given(events)
def test_the_json_form_is_the_message_again(event: SwapEvent) -> None:
    contract = contract_of(SwapEvent)
    frame = Envelope("market.a.b", 100, 1, 1, 1, 1, TIME_NS, PayloadCodec(SwapEvent).encode([event]))
    entry = Known("SwapEvent", tuple(field.name for field in contract.fields), contract)
    (found,) = Records({100: entry}, str).of(frame)
    line = json.loads(as_json(found))
    back = {field.name: BACK[field.type](line["fields"][field.name]) for field in contract.fields}  # type: ignore[operator]
    assert SwapEvent(**back) == event
    assert (line["type"], line["type_id"], line["sequence"], line["epoch"]) == ("SwapEvent", 100, 1, "1")


def test_times() -> None:
    assert iso(TIME_NS) == "2027-01-15T08:00:00.123456789Z"
    assert iso(0) == "1970-01-01T00:00:00.000000000Z"
    assert iso(2**64 - 1) == "2554-07-21T23:34:33.709551615Z"
