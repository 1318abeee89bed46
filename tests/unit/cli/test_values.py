"""How values look: nothing raw, nothing lost, one line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.market import PoolMetadata, Protocol, Token
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256, Address
from mycelium.cli.values import MAX_JSON_INT, MAX_SHOWN, brief, escaped, json_line, plain

texts = st.text(st.characters(codec=None), max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | texts
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=9))
)
keys = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | texts | st.binary(max_size=9)
values = st.recursive(
    scalars, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(keys, inside, max_size=4), max_leaves=12
)


def is_harmless(text: str) -> bool:
    """Whether a terminal does nothing but show it, in one line."""
    return text.isprintable()


@given(texts)
def test_no_text_reaches_a_terminal_raw(text: str) -> None:
    assert is_harmless(escaped(text))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain – text", "plain – text"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\x7f\u2028", r"\x7f\u2028"),
    ],
)
def test_what_is_no_plain_character_is_an_escape(raw: str, shown: str) -> None:
    assert escaped(raw) == shown
    assert is_harmless(json_line(plain(raw)))


@given(values)
def test_any_value_is_one_harmless_line(value: Any) -> None:
    assert is_harmless(brief(value))
    line = json_line(plain(value))
    assert is_harmless(line)
    assert line.isascii()
    json.loads(line, parse_constant=pytest.fail)


@given(texts)
def test_a_text_comes_back_from_json(text: str) -> None:
    assert json.loads(json_line(plain(text))) == text


@given(st.integers(-(2**64), 2**64))
def test_a_whole_number_comes_back_from_json_whoever_reads_it(number: int) -> None:
    """A reader that has doubles only gets the same number."""
    found = json.loads(json_line(plain(number)), parse_int=float)
    assert int(found) == number
    assert isinstance(found, str) == (abs(number) > MAX_JSON_INT)


@given(st.binary())
def test_bytes_come_back_from_json(data: bytes) -> None:
    found = plain(data)
    assert bytes.fromhex(found.removeprefix("0x")) == data


@given(st.integers(0, 2**256 - 1), st.integers(-(2**255), 2**255 - 1), st.binary(min_size=20, max_size=20))
def test_value_types_come_back_from_json(amount: int, change: int, address: bytes) -> None:
    """Amounts are always text, so that a field does not change its type with its value."""
    found = json.loads(json_line(plain([U256(amount), I256(change), Address(address)])))
    assert [U256(int(found[0])), I256(int(found[1])), Address(found[2])] == [amount, change, address]
    assert found[0] == str(amount)
    assert found[1] == str(change)


def test_structs_are_shown_with_the_names_of_their_fields() -> None:
    hop = Hop(Address(b"\1" * 20), Address(b"\2" * 20), Address(b"\3" * 20), U256(5), U256(2**200))
    signal = ArbitrageSignal("s", "usdc", b"\xab", 1, 2, 3, (hop,), I256(-4), U256(0), U256(0), I256(0))
    found = plain(signal)
    assert found["hops"][0]["amount_out"] == str(2**200)
    assert found["hops"][0]["pool"] == "0x" + "01" * 20
    assert (found["signal_id"], found["gross_profit"], found["block"]) == ("0xab", "-4", 1)
    token = Token(Address(b"\4" * 20), "USD C", 6)
    metadata = PoolMetadata("v", "i", Address(b"\1" * 20), Protocol.UNISWAP_V3, token, token, 500)
    assert plain(metadata)["protocol"] == "uniswap_v3"
    assert brief(token) == "{address=0x" + "04" * 20 + " symbol='USD C' decimals=6}"
    assert brief((1, None, True, 1.5)) == "[1, null, true, 1.5]"


def test_what_json_has_no_word_for() -> None:
    assert plain(float("nan")) == "nan"
    assert plain(float("-inf")) == "-inf"
    assert plain({1: "a", None: "b", b"\1": "c"}) == {"1": "a", "null": "b", "0x01": "c"}
    assert plain(msgspec.msgpack.Ext(5, b"\xff")) == {"ext": 5, "data": "0xff"}
    assert plain(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00+00:00"
    assert plain({3}) == [3]


def test_what_is_long_is_cut_for_a_person_and_whole_in_json() -> None:
    assert brief("x" * (MAX_SHOWN + 1)) == "x" * MAX_SHOWN + f"…({MAX_SHOWN + 1})"
    assert len(brief(bytes(100_000))) < MAX_SHOWN + 20
    assert len(plain(bytes(100_000))) == 200_002


def test_what_lies_too_deep_is_left_out() -> None:
    value: Any = []
    for _ in range(800):
        value = [value]
    assert "…" in brief(value)
    assert "…" in plain(value).__repr__()
