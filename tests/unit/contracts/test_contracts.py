"""Every contract of the system makes the round trip, and the value types hold at their edges."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, Protocol, SwapEvent, Token
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256, Address
from mycelium.core.message import PayloadCodec, contract_of
from mycelium.spec.model import load_spec
from tests.conftest import REPOSITORY

addresses = st.binary(min_size=20, max_size=20).map(Address)
amounts = st.integers(0, 2**256 - 1).map(U256)
changes = st.integers(-(2**255), 2**255 - 1).map(I256)
segments = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
numbers = st.integers(0, 2**63 - 1)
tokens = st.builds(Token, address=addresses, symbol=st.text(max_size=8), decimals=st.integers(0, 255))

MESSAGES: dict[type[Any], st.SearchStrategy[Any]] = {
    SwapEvent: st.builds(
        SwapEvent,
        venue=segments,
        instrument=segments,
        pool=addresses,
        block=numbers,
        log_index=numbers,
        timestamp=numbers,
        transaction=st.binary(min_size=32, max_size=32),
        amount0=changes,
        amount1=changes,
        branch=numbers,
    ),
    PoolMetadata: st.builds(
        PoolMetadata,
        venue=segments,
        instrument=segments,
        pool=addresses,
        protocol=st.sampled_from(Protocol),
        token0=tokens,
        token1=tokens,
        fee_pips=st.integers(0, 999_999),
        tick_spacing=st.integers(0, 16384),
    ),
    PoolSync: st.builds(
        PoolSync,
        venue=segments,
        instrument=segments,
        pool=addresses,
        block=numbers,
        log_index=st.integers(-(2**31), 2**63 - 1),
        timestamp=numbers,
        reserve0=amounts,
        reserve1=amounts,
        sqrt_price_x96=amounts,
        liquidity=amounts,
        tick=st.integers(-(2**23), 2**23 - 1),
        branch=numbers,
    ),
    BlockClosed: st.builds(
        BlockClosed,
        chain=numbers,
        block=numbers,
        timestamp=numbers,
        swaps=numbers,
        syncs=numbers,
        pools=numbers,
        branch=numbers,
    ),
    BlockRetracted: st.builds(BlockRetracted, chain=numbers, block=numbers, branch=numbers),
    ArbitrageSignal: st.builds(
        ArbitrageSignal,
        strategy=segments,
        asset=segments,
        signal_id=st.binary(min_size=16, max_size=16),
        block=numbers,
        log_index=numbers,
        timestamp=numbers,
        hops=st.lists(
            st.builds(
                Hop, pool=addresses, token_in=addresses, token_out=addresses, amount_in=amounts, amount_out=amounts
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
        gross_profit=changes,
        flash_premium=amounts,
        gas_cost=amounts,
        net_profit=changes,
        branch=numbers,
    ),
}


def test_no_contract_of_the_system_is_left_out() -> None:
    assert {kind.__name__ for kind in MESSAGES} == set(load_spec(REPOSITORY / "system.yaml").contracts)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_round_trip(kind: type[Any], data: st.DataObject) -> None:
    messages = data.draw(st.lists(MESSAGES[kind], min_size=1, max_size=3))
    codec = PayloadCodec(kind)
    payload = codec.encode(messages)
    decoded = codec.decode(payload, len(messages))
    assert decoded == messages
    for message, again in zip(messages, decoded, strict=True):
        for field in kind.__struct_fields__:
            assert type(getattr(again, field)) is type(getattr(message, field)), field
    plain = msgpack.unpackb(payload, strict_map_key=False)
    assert [len(fields) for fields in plain] == [len(contract_of(kind).fields)] * len(messages)
    assert msgpack.packb(plain) == payload


@given(changes, changes)
def test_a_swap_says_what_was_paid_and_received(amount0: I256, amount1: I256) -> None:
    swap = SwapEvent("v", "i", Address(bytes(20)), 1, 2, 3, bytes(32), amount0, amount1)
    if amount0 > 0 > amount1:
        assert (swap.zero_for_one, int(swap.amount_in), int(swap.amount_out)) == (True, int(amount0), -amount1)
    if amount1 > 0 > amount0:
        assert (swap.zero_for_one, int(swap.amount_in), int(swap.amount_out)) == (False, int(amount1), -amount0)
    assert swap.amount_in >= 0 <= swap.amount_out


def test_a_signal_starts_with_its_first_hop() -> None:
    hop = Hop(Address(bytes(20)), Address(bytes(20)), Address(bytes(20)), U256(5), U256(6))
    signal = ArbitrageSignal("s", "a", b"", 1, 2, 3, (hop,), I256(1), U256(0), U256(0), I256(1))
    assert signal.amount_in == 5


@pytest.mark.parametrize("text", ["0x" + "Ab" * 20, "ab" * 20])
def test_an_address_is_20_bytes_shown_in_lower_case(text: str) -> None:
    address = Address(text)
    assert str(address) == "0x" + "ab" * 20
    assert repr(address) == f"Address('{address}')"
    assert Address(bytes(address)) == address


@pytest.mark.parametrize("wrong", ["", "0x", "0x" + "a" * 39, "0x" + "a" * 42, "0x" + "g" * 40, b"x" * 19, b"x" * 32])
def test_what_is_no_address_is_refused_with_its_value(wrong: str | bytes) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Address(wrong)


@pytest.mark.parametrize(("kind", "low", "high"), [(U256, 0, 2**256 - 1), (I256, -(2**255), 2**255 - 1)])
def test_words_hold_at_their_edges(kind: type[Any], low: int, high: int) -> None:
    for edge in (low, high, 0):
        assert kind.from_wire(kind(edge).to_wire()) == edge
        assert len(kind(edge).to_wire()) == 32
    for outside in (low - 1, high + 1):
        with pytest.raises(ValueError, match="does not fit"):
            kind(outside)
    with pytest.raises(ValueError, match="takes 32 bytes, found 31"):
        kind.from_wire(bytes(31))
    with pytest.raises(TypeError, match="money is whole numbers"):
        kind(1.0)
