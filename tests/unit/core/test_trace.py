"""Traces and causes travel with the messages that they are of, whatever happens to the frames."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core.envelope import Envelope, decode_frame, encode_frame, source_id
from mycelium.core.trace import MAX_MARKS, Mark, Marks, MessageId, TraceContext, is_marked, marks_of, with_marks

TOPICS = st.from_regex(r"[a-z0-9_-]{1,9}(\.[a-z0-9_-]{1,9}){0,3}", fullmatch=True)
U64 = st.integers(0, 2**64 - 1)
IDS = st.builds(MessageId, U64, U64, st.integers(1, 2**64 - 1), TOPICS)
CONTEXTS = st.builds(
    TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.sampled_from(["", "rojo=00f067aa0ba902b7"])
)


def envelope(first: int = 41, count: int = 10) -> Envelope:
    return Envelope("market.a", 100, count, 1, 2, first, 3, b"\x90")


@st.composite
def marks(draw: st.DrawFn) -> list[Mark]:
    """Some marks of the messages 41 to 50, in order."""
    found, at = [], 41
    while at <= 50 and draw(st.booleans()):
        first = draw(st.integers(at, 50))
        last = draw(st.integers(first, 50))
        found.append(Mark(first, last, draw(CONTEXTS), draw(st.none() | IDS)))
        at = last + 1
    return found


@given(marks().filter(bool))
def test_what_a_frame_says_of_its_messages_is_what_was_said(some: list[Mark]) -> None:
    frame = decode_frame(encode_frame(with_marks(envelope(), some)))
    assert is_marked(frame)
    assert marks_of(frame) == some


def test_a_frame_of_one_trace_says_it_as_w3c_does() -> None:
    cause = MessageId(7, 8, 9, "a.b")
    made = with_marks(envelope(), [Mark(41, 50, TraceContext(0xAB, 0xCD, "rojo=1"), cause)])
    assert made.traceparent == b"00-000000000000000000000000000000ab-00000000000000cd-01"
    assert made.tracestate == b"rojo=1"
    assert made.causation == struct.pack("<QQQ", 7, 8, 9) + b"a.b"
    assert made.marks is None


def test_a_frame_in_which_only_one_is_traced_lists_it() -> None:
    made = with_marks(envelope(), [Mark(43, 43, TraceContext(0xAB, 0xCD))])
    assert made.traceparent is None
    expected = struct.pack("<HH", 2, 1) + bytes(15) + b"\xab" + bytes(7) + b"\xcd" + struct.pack("<HH", 0, 0)
    assert made.marks == expected


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", (0x0AF7651916CD43DD8448EB211C80319C,)),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", (0x0AF7651916CD43DD8448EB211C80319C,)),
        (b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", (0x0AF7651916CD43DD8448EB211C80319C,)),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", None),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", None),
        (b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        (b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        (b"\xff\x00", None),
        (b"", None),
    ],
)
def test_traceparents_as_w3c_has_them(traceparent: bytes, expected: tuple[int] | None) -> None:
    context = TraceContext.parse(traceparent)
    assert (None if context is None else (context.trace_id,)) == expected


@given(st.binary(max_size=200), st.none() | st.binary(max_size=80), st.none() | st.binary(max_size=80))
def test_what_cannot_be_read_is_left_aside(data: bytes, parent: bytes | None, cause: bytes | None) -> None:
    sent = Envelope("a", 1, 10, 1, 2, 41, 3, b"\x90", traceparent=parent, causation=cause, marks=data)
    found = marks_of(decode_frame(encode_frame(sent)))
    assert all(41 <= mark.first <= mark.last <= 50 for mark in found)
    assert all(a.last < b.first for a, b in pairwise(found))


@given(marks().filter(bool), st.integers(0, 300))
def test_a_list_of_marks_that_ends_too_soon_says_what_was_whole(some: list[Mark], cut: int) -> None:
    whole = with_marks(envelope(count=20), some).marks
    assert whole is not None
    short = Envelope("a", 1, 20, 1, 2, 41, 3, b"\x90", marks=whole[: min(cut, len(whole) - 1)])
    found = marks_of(short)
    assert found == some[: len(found)]
    assert len(found) < len(some)


@given(IDS)
def test_ids_are_read_as_they_were_written(one: MessageId) -> None:
    assert MessageId.from_bytes(one.to_bytes()) == one
    assert MessageId.parse(one.written()) == one
    assert MessageId.parse(one.written("adapter")) == one._replace(source=source_id("adapter"))


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b@c", "a.b@c.1", "a.b@c.1.0", "A.b@c.1.2", "a..b@c.1.2", f"a@c.{1 << 64}.1"]
)
def test_what_is_no_id_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no message id"):
        MessageId.parse(text)


@given(st.binary(max_size=400))
def test_any_bytes_are_an_id_or_none(data: bytes) -> None:
    found = MessageId.from_bytes(data)
    assert found is None or found.to_bytes() == data


def mark(first: int, last: int | None = None) -> Mark:
    return Mark(first, last or first, TraceContext(first, 1))


def test_a_reader_gets_the_mark_of_the_message_that_it_takes() -> None:
    held = Marks()
    held.add([mark(3), mark(5, 7)])
    held.add([mark(3)])  # a repeat
    assert [getattr(held.take(sequence), "first", None) for sequence in (1, 2, 3, 4, 5, 7, 8)] == [
        None, None, 3, None, 5, 5, None,
    ]  # fmt: skip
    assert len(held) == 0, "what was taken is let go of"


def test_marks_are_cut_to_a_frame() -> None:
    held = Marks()
    held.add([mark(3), mark(5, 9)])
    assert [(one.first, one.last) for one in held.within(4, 3)] == [(5, 6)]
    held.drop(8)
    assert [(one.first, one.last) for one in held.within(1, 100)] == [(5, 9)]
    held.drop(9)
    assert held.within(1, 100) == []


def test_marks_that_nobody_takes_do_not_gather_for_ever() -> None:
    held = Marks()
    held.add(mark(n) for n in range(1, 2 * MAX_MARKS + 1))
    assert len(held) == MAX_MARKS
    assert held.take(2 * MAX_MARKS) is not None
