"""What contracts say of themselves is made safe, and no two pools get one name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.describe import clashes
from adapters.polygon.live.facts import MAX_SYMBOL, Names, PoolFacts, Venue, safe_symbol, symbol_of
from adapters.polygon.naming import segment
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address
from mycelium.core.message import contract_of
from tests.unit.adapters.polygon.live.contracts_in_memory import address, text, word
from tests.unit.adapters.polygon.samples import USDC, V2_POOL, V3_POOL, WETH

TOKEN = Address("0xdeadbeef" + "00" * 15 + "01")
V2 = PoolFacts(V2_POOL.pool, address(9), Protocol.UNISWAP_V2, USDC, WETH)
V3 = PoolFacts(V3_POOL.pool, address(9), Protocol.UNISWAP_V3, USDC, WETH, 500, 10)


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (text("USDC"), "USDC"),
        (text("USDC.e"), "USDC.e"),
        (text("USD₮0"), "USD₮0"),
        (text("  DAI \0\0"), "DAI"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (b"x" * 32, "x" * 32),
        (text("x" * MAX_SYMBOL), "x" * MAX_SYMBOL),
        (word(32) + word(3) + b"OLD", "OLD"),  # the last word is not filled up
    ],
)
def test_a_symbol_is_taken_as_it_is(answer: bytes, symbol: str) -> None:
    assert symbol_of(answer, TOKEN) == symbol


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        text(""),
        text("   "),
        bytes(32),
        b"AB\0CD".ljust(32, b"\0"),
        text("x" * (MAX_SYMBOL + 1)),
        text("x" * 20_000),
        text(b"\xff\xfe"),
        text("US\nDC"),
        text("US\x1b[31mDC"),
        text("US\u200bDC"),
        text("\u202eCDSU"),
        text("שקל"),
        text("USDCש"),
        text("₮₮"),
        text("--"),
        word(2**255),
        word(32) + word(2**64),
        b"abc",
    ],
)
def test_what_is_no_safe_symbol_becomes_the_address(answer: bytes | None) -> None:
    assert symbol_of(answer, TOKEN) == "deadbeef"


@given(st.one_of(st.none(), st.binary(max_size=200), st.text(max_size=40).map(text), st.binary(max_size=40).map(text)))
def test_whatever_a_token_says_makes_a_topic(answer: bytes | None) -> None:
    symbol = symbol_of(answer, TOKEN)
    assert safe_symbol(symbol) == symbol
    assert symbol.isprintable()
    assert len(symbol) <= MAX_SYMBOL
    venue = Venue("v" * 60, Protocol.UNISWAP_V3)
    token1 = msgspec.structs.replace(WETH, symbol=symbol)
    pool = msgspec.structs.replace(V3, token1=token1, fee_pips=999_999).metadata(venue)
    names = Names()
    names.named(pool)
    long = names.named(msgspec.structs.replace(pool, pool=address(1)))
    contract_of(PoolMetadata).topic.topic_of(long)


def test_facts_become_what_messages_say() -> None:
    assert V2.problem() is None
    assert V3.problem() is None
    assert V2.metadata(Venue("quickswap", Protocol.UNISWAP_V2)) == V2_POOL
    assert V3.metadata(Venue("uniswap_v3", Protocol.UNISWAP_V3, 1)) == V3_POOL
    assert V2.metadata(Venue("cheap", Protocol.UNISWAP_V2, 1000)).fee_pips == 1000


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (msgspec.structs.replace(V2, token0=WETH, token1=USDC), "smaller address"),
        (msgspec.structs.replace(V2, token1=USDC), "smaller address"),
        (msgspec.structs.replace(V3, fee_pips=1_000_000), "fee 1000000"),
        (msgspec.structs.replace(V3, fee_pips=-1), "fee -1"),
        (msgspec.structs.replace(V3, tick_spacing=0), "tick spacing 0"),
        (msgspec.structs.replace(V3, tick_spacing=16384), "tick spacing 16384"),
        (msgspec.structs.replace(V2, tick_spacing=1), "tick spacing 1"),
        (msgspec.structs.replace(V2, token0=Token(USDC.address, "USDC", 256)), "256 decimals"),
        (msgspec.structs.replace(V2, token0=Token(USDC.address, "US\nDC", 6)), "not safe"),
    ],
)
def test_facts_that_cannot_be_are_found(facts: PoolFacts, problem: str) -> None:
    assert problem in str(facts.problem())


@pytest.mark.parametrize("name", ["", "Quick", "a.b", "a b"])
def test_a_venue_is_part_of_a_topic(name: str) -> None:
    with pytest.raises(ValueError, match="part of a topic"):
        Venue(name, Protocol.UNISWAP_V2)


def test_a_venues_fee_is_below_the_whole() -> None:
    with pytest.raises(ValueError, match="1000000"):
        Venue("quickswap", Protocol.UNISWAP_V2, 1_000_000)


def pool(number: int, instrument: str, venue: str = "quickswap") -> PoolMetadata:
    return msgspec.structs.replace(V2_POOL, pool=address(number << 128), instrument=instrument, venue=venue)


def test_who_is_named_first_keeps_the_plain_name() -> None:
    names = Names()
    first, second = pool(1, "usdc-weth"), pool(2, "usdc-weth")
    assert names.named(first) == first
    assert names.named(second).instrument == "usdc-weth-00000002"
    assert names.named(first) == first
    assert names.named(second).instrument == "usdc-weth-00000002"
    elsewhere = pool(3, "usdc-weth", "sushiswap")
    assert names.named(elsewhere) == elsewhere


def test_whose_first_digits_are_taken_gets_all_of_them() -> None:
    names = Names()
    names.named(pool(1, "usdc-weth"))
    names.named(pool(2, "usdc-weth-00000003"))
    assert names.named(pool(3, "usdc-weth")).instrument == "usdc-weth-" + address(3 << 128).hex()


def test_known_pools_keep_their_names() -> None:
    known = [pool(2, "usdc-weth-00000002"), pool(5, "usdc-dai")]
    names = Names(known)
    assert names.named(pool(2, "usdc-weth")).instrument == "usdc-weth-00000002"
    assert names.named(pool(6, "usdc-dai")).instrument == "usdc-dai-00000006"
    assert names.named(pool(1, "usdc-weth")).instrument == "usdc-weth"


SYMBOLS = st.sampled_from(["usdc", "USDC", "usdc-weth", "weth", "00000001", "weth-00000002"])


@given(st.lists(st.tuples(st.integers(1, 9), SYMBOLS), max_size=30), st.integers(0, 30))
def test_names_are_unique_and_depend_on_the_order_alone(found: list[tuple[int, str]], cut: int) -> None:
    pools = list({number: pool(number, segment(symbol)) for number, symbol in found}.values())
    names = Names()
    named = [names.named(one) for one in pools]
    assert not clashes("", named)
    assert [names.named(one) for one in reversed(pools)] == named[::-1], "a name does not change"
    again = Names(named[:cut])
    assert [again.named(one) for one in pools] == named, "what is known first goes on where it was"
