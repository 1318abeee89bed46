"""Conditions of ``--where``."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.market import Protocol, Token
from contracts.values import U256, Address
from mycelium.cli.conditions import Condition

FIELDS: dict[str, Any] = {
    "venue": "quickswap",
    "number": 7,
    "amount": U256(2**200),
    "pool": Address(b"\xab" * 20),
    "token": Token(Address(b"\1" * 20), "USDC", 6),
    "protocol": Protocol.UNISWAP_V3,
    "hops": ({"pool": b"\x01"}, {"pool": b"\x02"}),
    "share": 0.5,
    "good": True,
    "nothing": None,
    "text": "0x10",
}


@pytest.mark.parametrize(
    "text",
    [
        "venue=quickswap", "venue!=sushi", "venue>q", "venue<r", "number=7", "number=0x7", "number=7.0", "number>6",
        "number>=7", "number<=7", "number<1e3", "number!=8", "number=0_7", f"amount={2**200}", "amount>1e18",
        f"amount<{2**200 + 1}", "pool=0x" + "ab" * 20, "pool=" + "AB" * 20, "token.symbol=USDC", "token.decimals<7",
        "protocol=uniswap_v3", "hops.1.pool=0x02", "hops.0.pool!=0x02", "share>0.4", "share=0.5", "good=true",
        "good!=false", "nothing=null", "text=0x10", "absent!=1", "hops.7.pool!=1", "number!=seven",
    ],
)  # fmt: skip
def test_it_holds(text: str) -> None:
    assert Condition.parse(text).holds(FIELDS), text


@pytest.mark.parametrize(
    "text",
    [
        "venue=quick", "number=8", "number>7", "number<7", "number=seven", "number>seven", "number<nan", "amount<1e18",
        f"amount={2**200 + 1}", "pool=0xab", "token.symbol=usdc", "hops=1", "hops.0.pool=0x02", "good=false",
        "nothing!=null", "absent=1", "absent>1", "absent<1", "token.name=x", "venue.x=1", "hops.7.pool=0x01",
    ],
)  # fmt: skip
def test_it_does_not_hold(text: str) -> None:
    assert not Condition.parse(text).holds(FIELDS), text


@pytest.mark.parametrize("text", ["", "number", "=7", "a b=7", "number~7", ".x=1", "x.=1", "x..y=1", "-x=1"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="is no condition such as"):
        Condition.parse(text)


def test_the_value_is_all_that_follows() -> None:
    condition = Condition.parse("venue=a=b>c")
    assert (condition.path, condition.how, condition.value) == (("venue",), "=", "a=b>c")
    assert condition.holds({"venue": "a=b>c"})


def test_fields_without_names_are_numbered() -> None:
    assert Condition.parse("1=5").holds(("a", 5))
    assert not Condition.parse("2=5").holds(("a", 5))


@given(st.integers(-(2**256), 2**256), st.integers(-(2**256), 2**256))
def test_whole_numbers_are_compared_exactly(one: int, other: int) -> None:
    for how, expected in ((">", one > other), ("<", one < other), ("=", one == other), ("!=", one != other)):
        assert Condition.parse(f"n{how}{other}").holds({"n": one}) is expected


@given(
    st.dictionaries(st.sampled_from("ab"), st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text())),
    st.sampled_from(["=", "!=", ">", "<", ">=", "<="]),
    st.text(),
)
def test_whatever_is_compared_nothing_is_raised(fields: dict[str, Any], how: str, value: str) -> None:
    assert Condition.parse(f"a{how}{value}").holds(fields) in (True, False)
