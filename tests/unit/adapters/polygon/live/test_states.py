"""States are read as contracts say them, and what cannot be is none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.calls import Caller, call_data
from adapters.polygon.live.states import holdings, large_enough, states
from adapters.polygon.pools import V3State
from tests.unit.adapters.polygon.live.contracts_in_memory import BLOCK, ContractsInMemory, word
from tests.unit.adapters.polygon.samples import PRICE, USDC, V2_POOL, V3_POOL, WETH

SLOT0 = word(PRICE) + word(-193919) + bytes(160)


@pytest.mark.parametrize("has_multicall", [True, False])
async def test_both_kinds_of_pools_say_their_state(has_multicall: bool) -> None:
    node = ContractsInMemory(has_multicall=has_multicall)
    node.says(V2_POOL.pool, getReserves=word(5) + word(2**112 - 1) + word(99))
    node.says(V3_POOL.pool, slot0=SLOT0, liquidity=word(10**18))
    found = await states(Caller(node.ask), [V3_POOL, V2_POOL, V3_POOL], BLOCK)
    assert found == {V2_POOL.pool: (5, 2**112 - 1), V3_POOL.pool: V3State(PRICE, -193919, 10**18)}
    assert all(params[1] == {"blockHash": "0x" + BLOCK.hex()} for method, params in node.asked if method == "eth_call")


@pytest.mark.parametrize(
    ("slot0", "liquidity"),
    [
        (bytes(224), word(0)),  # not initialised
        (None, word(1)),
        (SLOT0, None),
        (SLOT0[:40], word(1)),
        (word(2**161) + bytes(192), word(1)),
        (word(4295128738) + bytes(192), word(1)),
        (word(PRICE) + word(887273) + bytes(160), word(1)),
        (SLOT0, word(2**128)),
    ],
)
async def test_a_v3_state_that_cannot_be_is_none(slot0: bytes | None, liquidity: bytes | None) -> None:
    node = ContractsInMemory()
    node.says(V3_POOL.pool, slot0=slot0, liquidity=liquidity)
    assert await states(Caller(node.ask), [V3_POOL], BLOCK) == {V3_POOL.pool: None}


@pytest.mark.parametrize("answer", [None, b"", word(1), word(2**112) + word(1)])
async def test_reserves_that_cannot_be_are_none(answer: bytes | None) -> None:
    node = ContractsInMemory()
    node.says(V2_POOL.pool, getReserves=answer)
    assert await states(Caller(node.ask), [V2_POOL], BLOCK) == {V2_POOL.pool: None}


@given(st.binary(max_size=240), st.binary(max_size=70), st.binary(max_size=100))
def test_whatever_pools_answer_is_a_state_or_none(slot0: bytes, liquidity: bytes, reserves: bytes) -> None:
    node = ContractsInMemory()
    node.says(V3_POOL.pool, slot0=slot0, liquidity=liquidity)
    node.says(V2_POOL.pool, getReserves=reserves)
    found = asyncio.run(states(Caller(node.ask), [V2_POOL, V3_POOL], BLOCK))
    assert set(found) == {V2_POOL.pool, V3_POOL.pool}


async def test_what_pools_hold_is_asked_of_the_tokens_that_matter() -> None:
    node = ContractsInMemory()
    node.says(V2_POOL.pool, getReserves=word(5) + word(6) + word(0))
    node.answers[WETH.address, call_data("balanceOf(address)", bytes(V3_POOL.pool))] = word(7)
    pools = [V2_POOL, V3_POOL]
    held = await holdings(Caller(node.ask), pools, [WETH.address])
    assert held == {(V2_POOL.pool, WETH.address): 6, (V3_POOL.pool, WETH.address): 7}
    both = await holdings(Caller(node.ask), pools, [WETH.address, USDC.address])
    assert both == held | {(V2_POOL.pool, USDC.address): 5, (V3_POOL.pool, USDC.address): 0}
    assert large_enough(V2_POOL, held, {WETH.address: 6})
    assert not large_enough(V2_POOL, held, {WETH.address: 7})
    assert large_enough(V2_POOL, both, {WETH.address: 7, USDC.address: 5}), "one of them is enough"
    assert not large_enough(V2_POOL, held, {V2_POOL.pool: 0}), "nothing says what it is worth"
    assert large_enough(V2_POOL, {}, {})
