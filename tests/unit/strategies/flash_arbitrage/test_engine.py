from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from contracts.market import PoolMetadata, PoolSync, Protocol, Token
from contracts.signals import ArbitrageSignal
from contracts.values import Address
from mycelium.core.message import PayloadCodec
from strategies.flash_arbitrage.engine import Engine, asset_of, signal_id
from strategies.flash_arbitrage.pool import _MOST_STATES, REMEMBERED
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.ticks import sqrt_ratio_at_tick
from tests.unit.strategies.flash_arbitrage.markets import Market, markets
from tests.unit.strategies.flash_arbitrage.reference import (
    address,
    assert_profitable,
    swap,
    token,
    v2_pool,
    v2_state,
    v3_pool,
    v3_state,
)

ROOT = Path(__file__).parents[4]
ONE, TWO = token(1), token(2)
CHEAP, DEAR = v2_pool(0, ONE, TWO), v2_pool(1, ONE, TWO)
BEFORE = v2_state(CHEAP, 10**9, 10**9, 5, 0), v2_state(DEAR, 10**9, 10**9, 5, 2)
OPENED = v2_state(CHEAP, 10**9, 12 * 10**8, 6, 3)


def engine_with(**settings: Any) -> Engine:
    values = {"start_tokens": (ONE.address,), "wrapped_native": ONE.address, "gas_price_wei": 0}
    return Engine(FlashArbitrageSettings(**(values | settings)))


def two_pools(**settings: Any) -> Engine:
    engine = engine_with(**settings)
    for pool, state in zip((CHEAP, DEAR), BEFORE, strict=True):
        engine.on_metadata(pool)
        engine.on_sync(state)
    return engine


def test_a_swap_that_opens_a_gap_is_signalled_with_all_it_says() -> None:
    engine = two_pools()
    engine.on_sync(OPENED)
    (signal,) = engine.on_swap(swap(CHEAP, 6, 4))
    assert_profitable(
        signal, {pool.pool: pool for pool in (CHEAP, DEAR)}, {CHEAP.pool: OPENED, DEAR.pool: BEFORE[1]}, 5
    )
    assert (signal.block, signal.log_index, signal.timestamp) == (6, 4, 1_700_000_000)
    assert (signal.strategy, signal.asset) == ("flash_arbitrage", "t1")
    assert [hop.pool for hop in signal.hops] == [CHEAP.pool, DEAR.pool]
    assert signal.signal_id == signal_id(6, 4, CHEAP.pool + b"\0" + DEAR.pool + b"\1")
    assert len(signal.signal_id) == 16


def test_an_id_is_the_hash_of_block_log_and_route() -> None:
    named = hashlib.blake2b(bytes(7) + b"\x05" + bytes(7) + b"\x04" + b"route", digest_size=16).digest()
    assert signal_id(5, 4, b"route") == named
    assert len({named, signal_id(4, 5, b"route"), signal_id(5, 5, b"route"), signal_id(5, 4, b"other")}) == 4


def test_an_id_on_another_branch_is_another() -> None:
    named = hashlib.blake2b(bytes(7) + b"\x05" + bytes(7) + b"\x04" + b"route" + bytes(7) + b"\x02", digest_size=16)
    assert signal_id(5, 4, b"route", 2) == named.digest()
    assert signal_id(5, 4, b"route", 0) == signal_id(5, 4, b"route")
    engine = two_pools()
    engine.on_sync(OPENED)
    trade = swap(CHEAP, 6, 4)
    (first,), (second,) = engine.on_swap(trade), engine.on_swap(msgspec.structs.replace(trade, branch=2))
    assert (first.branch, second.branch) == (0, 2)
    assert second.signal_id == signal_id(6, 4, CHEAP.pool + b"\0" + DEAR.pool + b"\1", 2)


def test_balanced_pools_give_no_signal() -> None:
    engine = two_pools()
    assert engine.on_swap(swap(CHEAP, 5, 1)) == []
    assert engine.statistics().screened_out == 2


def test_gas_and_premium_come_off_the_profit_or_forbid_it() -> None:
    engine = two_pools(gas_price_wei=1, gas_base=1_000, gas_per_hop=10)
    engine.on_sync(OPENED)
    (signal,) = engine.on_swap(swap(CHEAP, 6, 4))
    assert signal.gas_cost == 1_020
    assert signal.net_profit == signal.gross_profit - signal.flash_premium - 1_020
    engine = two_pools(gas_price_wei=1, gas_base=int(signal.net_profit) + 1_001, gas_per_hop=10)
    engine.on_sync(OPENED)
    assert engine.on_swap(swap(CHEAP, 6, 4)) == []


# --- what is not there ----------------------------------------------------------------------------


def test_a_swap_without_its_state_is_left_out_and_counted() -> None:
    engine = two_pools()
    assert engine.on_swap(swap(CHEAP, 6, 4)) == []
    engine.on_sync(v2_state(CHEAP, 10**9, 13 * 10**8, 6, 2))
    assert engine.on_swap(swap(CHEAP, 6, 4)) == []
    assert (engine.statistics().left_out, engine.statistics().examined) == (2, 0)
    engine.on_sync(OPENED)
    assert len(engine.on_swap(swap(CHEAP, 6, 4))) == 1


def test_a_v2_state_comes_one_log_before_its_swap_and_a_v3_state_with_it() -> None:
    engine = engine_with()
    concentrated = v3_pool(2, ONE, TWO)
    for pool in (CHEAP, concentrated):
        engine.on_metadata(pool)
    engine.on_sync(v2_state(CHEAP, 10**9, 10**9, 7, 2))
    engine.on_sync(v3_state(concentrated, 2**96, 10**12, 0, 7, 5))
    for trade, is_left_out in (
        (swap(CHEAP, 7, 3), False),
        (swap(CHEAP, 7, 4), True),
        (swap(concentrated, 7, 5), False),
        (swap(concentrated, 7, 6), True),
    ):
        before = engine.statistics().left_out
        engine.on_swap(trade)
        assert engine.statistics().left_out - before == is_left_out


def test_what_is_said_of_a_pool_that_is_not_described_is_left_out_and_counted() -> None:
    engine = engine_with()
    engine.on_sync(OPENED)
    assert engine.on_swap(swap(CHEAP, 6, 4)) == []
    assert engine.statistics().left_out == 2


def test_only_the_cycles_through_the_pool_that_moved_are_examined() -> None:
    engine = two_pools(start_tokens=(ONE.address, address(8)))
    elsewhere = [v2_pool(number, token(8), token(9)) for number in (5, 6)]
    for pool in elsewhere:
        engine.on_metadata(pool)
        engine.on_sync(v2_state(pool, 10**9, 10**9 * (pool.instrument == "pool-5") + 10**9))
    engine.on_sync(OPENED)
    before = engine.statistics().examined
    signals = engine.on_swap(swap(CHEAP, 6, 4))
    assert engine.statistics().examined - before == 2
    assert {hop.pool for signal in signals for hop in signal.hops} == {CHEAP.pool, DEAR.pool}


# --- what cannot be -------------------------------------------------------------------------------


def test_an_impossible_state_is_reported_counted_and_takes_the_pool_out_of_use() -> None:
    engine = two_pools()
    engine.on_sync(OPENED)
    engine.on_sync(v2_state(CHEAP, 0, 5, 7, 0))
    (refusal,) = engine.take_refusals()
    assert (refusal.cause, refusal.where) == ("reserve_not_positive", str(CHEAP.pool))
    assert "block 7, log 0" in refusal.detail
    assert engine.take_refusals() == []
    assert engine.statistics().refused == (("reserve_not_positive", 1),)
    assert engine.on_swap(swap(CHEAP, 7, 1)) == []
    assert engine.on_swap(swap(DEAR, 5, 3)) == []
    engine.on_sync(v2_state(CHEAP, 10**9, 12 * 10**8, 8, 0))
    assert len(engine.on_swap(swap(CHEAP, 8, 1))) == 1


def test_an_impossible_or_changed_description_is_refused() -> None:
    engine = two_pools()
    engine.on_metadata(v2_pool(9, TWO, ONE))
    engine.on_metadata(CHEAP)
    engine.on_metadata(msgspec.structs.replace(CHEAP, fee_pips=2500))
    assert [refusal.cause for refusal in engine.take_refusals()] == ["tokens_not_sorted", "metadata_changed"]
    assert engine.statistics().pools == 2
    assert engine.statistics().refused == (("metadata_changed", 1), ("tokens_not_sorted", 1))


def test_a_v3_pool_without_liquidity_is_waited_out() -> None:
    engine = engine_with()
    concentrated = v3_pool(2, ONE, TWO)
    for pool, state in (
        (CHEAP, OPENED),
        (concentrated, v3_state(concentrated, 2**96, 0, 0, 6, 8)),
    ):
        engine.on_metadata(pool)
        engine.on_sync(state)
    assert engine.on_swap(swap(concentrated, 6, 8)) == []
    engine.on_sync(v3_state(concentrated, 2**96, 10**12, 0, 6, 9))
    (signal,) = engine.on_swap(swap(concentrated, 6, 9))
    assert {hop.pool for hop in signal.hops} == {CHEAP.pool, concentrated.pool}


# --- what is taken back ---------------------------------------------------------------------------


def test_a_block_that_is_taken_back_might_not_have_been() -> None:
    engine = two_pools()
    engine.on_sync(OPENED)
    assert len(engine.on_swap(swap(CHEAP, 6, 4))) == 1
    engine.on_sync(v2_state(DEAR, 10**9, 11 * 10**8, 7, 0))
    assert len(engine.on_swap(swap(DEAR, 7, 1))) == 1
    engine.take_back(7)
    assert engine.statistics().signals_void == 1
    assert len(engine.on_swap(swap(CHEAP, 6, 4))) == 1
    engine.take_back(6)
    assert engine.on_swap(swap(CHEAP, 6, 4)) == []
    assert engine.on_swap(swap(CHEAP, 5, 1)) == []
    statistics = engine.statistics()
    assert (statistics.signals, statistics.signals_void, statistics.states_forgotten) == (3, 3, 0)
    assert (statistics.left_out, statistics.pools) == (1, 2)


def test_a_pool_without_a_state_from_before_is_out_of_use_until_the_next() -> None:
    engine = two_pools()
    engine.take_back(5)
    assert engine.on_swap(swap(CHEAP, 5, 1)) == []
    assert (engine.statistics().left_out, engine.statistics().states_forgotten) == (1, 0)
    for state in (*BEFORE, OPENED):
        engine.on_sync(state)
    assert len(engine.on_swap(swap(CHEAP, 6, 4))) == 1


def test_an_impossible_state_is_still_one_after_what_came_later_is_taken_back() -> None:
    engine = two_pools()
    engine.on_sync(v2_state(CHEAP, 0, 5, 6, 0))
    assert len(engine.take_refusals()) == 1
    engine.on_sync(v2_state(CHEAP, 10**9, 12 * 10**8, 7, 0))
    engine.take_back(7)
    assert engine.take_refusals() == []
    assert engine.on_swap(swap(CHEAP, 6, 1)) == []
    assert engine.statistics().left_out == 0
    assert engine.on_swap(swap(DEAR, 5, 3)) == []


def test_states_are_remembered_for_so_many_blocks_and_one_from_before() -> None:
    engine = two_pools()
    node = engine._graph.node(CHEAP.pool)
    assert node is not None
    most = 0
    for block in range(6, 2 * _MOST_STATES):
        for log_index in (0, 2):
            engine.on_sync(v2_state(CHEAP, 10**9, 10**9 + block, block, log_index))
            most = max(most, len(node.pool._past))
    assert most == _MOST_STATES
    node.pool._forget()
    newest = 2 * _MOST_STATES - 1
    assert [state.block for state in node.pool._past] == list(range(newest - REMEMBERED, newest + 1))
    oldest = newest - REMEMBERED + 1
    engine.take_back(oldest)
    assert (node.pool.block, node.pool.log_index) == (oldest - 1, 2)
    assert engine.statistics().states_forgotten == 0
    engine.take_back(oldest - 1)
    assert engine.statistics().states_forgotten == 1
    assert not node.pool.usable
    assert engine.on_swap(swap(DEAR, 5, 3)) == []
    engine.on_sync(v2_state(CHEAP, 10**9, 12 * 10**8, oldest - 1, 0))
    assert len(engine.on_swap(swap(CHEAP, oldest - 1, 1))) == 1


def states_of(engine: Engine) -> list[tuple[object, ...]]:
    """All that a search sees of the pools."""
    graph = engine._graph
    return [
        (
            *(node.pool.address, node.pool.block, node.pool.log_index, node.pool.usable),
            *(graph.rates[node.edge : node.edge + 2], graph.slopes[node.edge : node.edge + 2]),
            *((node.pool.coefficients(sold), node.pool.largest_in(sold)) for sold in (0, 1) if node.pool.usable),
        )
        for node in graph.nodes()
    ]


MANY = [
    *(v2_pool(0, ONE, TWO), v2_pool(1, ONE, TWO), v3_pool(2, ONE, TWO)),
    *(v2_pool(3, TWO, token(3)), v3_pool(4, ONE, token(3))),
]


def state_of(pool: PoolMetadata, change: int, block: int, log_index: int) -> PoolSync:
    """A state near balance; one of many cannot be."""
    if change == 0:
        return v2_state(pool, 0, 1, block, log_index)
    if pool.protocol is Protocol.UNISWAP_V2:
        return v2_state(pool, 10**12, 10**12 + change * 10**9, block, log_index)
    tick = change - 10
    return v3_state(pool, sqrt_ratio_at_tick(tick), 10**12, tick, block, log_index)


@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(st.sampled_from(MANY), st.integers(0, 20)), max_size=4),
            st.integers(1, 6),
        ),
        max_size=20,
    )
)
def test_what_was_taken_back_leaves_no_trace(history: list[list[tuple[PoolMetadata, int]] | int]) -> None:
    """Blocks of states, and how many blocks to take back: as an engine that saw only what counts in the end."""
    engine, fresh = (
        engine_with(start_tokens=(ONE.address, TWO.address)),
        engine_with(start_tokens=(ONE.address, TWO.address)),
    )
    for pool in MANY:
        engine.on_metadata(pool)
        fresh.on_metadata(pool)
    chain: list[list[PoolSync]] = []
    signals: list[int] = []
    for step in history:
        if isinstance(step, int):
            kept = max(0, len(chain) - step)
            void = engine.statistics().signals_void
            engine.take_back(kept)
            assert engine.statistics().signals_void - void == sum(signals[kept:])
            del chain[kept:], signals[kept:]
            continue
        block = [state_of(pool, change, len(chain), 3 * place) for place, (pool, change) in enumerate(step)]
        signals.append(0)
        for state, (pool, _) in zip(block, step, strict=True):
            engine.on_sync(state)
            signals[-1] += len(engine.on_swap(swap(pool, state.block, state.log_index)))
        chain.append(block)
    for block in chain:
        for state in block:
            fresh.on_sync(state)
    assert states_of(engine) == states_of(fresh)
    number = len(chain)
    for place, pool in enumerate(MANY):
        state = state_of(pool, 15, number, 2 * place)
        engine.on_sync(state)
        fresh.on_sync(state)
        trade = swap(pool, number, 2 * place)
        assert engine.on_swap(trade) == fresh.on_swap(trade)


# --- properties -----------------------------------------------------------------------------------


@given(markets(), st.sampled_from((0, 5)), st.integers(0, 10**6))
def test_no_signal_is_unprofitable(market: Market, premium_bps: int, gas_price: int) -> None:
    tokens = tuple(dict.fromkeys(t.address for pool in market.pools for t in (pool.token0, pool.token1)))
    engine = engine_with(
        start_tokens=tokens,
        wrapped_native=tokens[0],
        flash_premium_bps=premium_bps,
        gas_price_wei=gas_price,
        gas_base=3,
        gas_per_hop=1,
    )
    for pool, state in zip(market.pools, market.states, strict=True):
        engine.on_metadata(pool)
        engine.on_sync(state)
    states = {state.pool: state for state in market.states}
    pools = {pool.pool: pool for pool in market.pools}
    for pool in market.pools:
        signals = engine.on_swap(swap(pool, 1, 0))
        event(f"{len(signals)} signals")
        for signal in signals:
            assert_profitable(signal, pools, states, premium_bps)
            assert (signal.gas_cost > 0) == (gas_price > 0)


def test_the_best_come_first_and_what_is_over_the_limit_is_counted() -> None:
    def signals_with(limit: int) -> tuple[list[ArbitrageSignal], Engine]:
        engine = engine_with(max_signals_per_event=limit)
        for number in range(6):
            pool = v2_pool(number, ONE, TWO)
            engine.on_metadata(pool)
            engine.on_sync(v2_state(pool, 10**9, 10**9 + 10**8 * number))
        return engine.on_swap(swap(v2_pool(5, ONE, TWO), 1, 0)), engine

    everything, _ = signals_with(100)
    assert len(everything) == 5
    profits = [signal.net_profit for signal in everything]
    assert profits == sorted(profits, reverse=True)
    best, engine = signals_with(2)
    assert best == everything[:2]
    statistics = engine.statistics()
    assert statistics.signals == 2
    assert statistics.outranked + statistics.over_limit == 3


@pytest.mark.parametrize(
    ("symbol", "asset"),
    [("WETH", "weth"), ("USDC.e", "usdc-e"), ("$$$", None), ("", None), ("Ω mega", "mega"), ("x" * 99, "x" * 32)],
)
def test_an_asset_is_a_segment_of_a_topic_whatever_the_symbol(symbol: str, asset: str | None) -> None:
    named = Token(address(1), symbol, 18)
    assert asset_of(named) == (asset or str(address(1)))


# --- determinism ----------------------------------------------------------------------------------

SCRIPT = """
import hashlib
from tests.unit.strategies.flash_arbitrage.test_engine import transcript
print(hashlib.sha256(transcript()).hexdigest())
"""


def transcript() -> bytes:
    """All bytes that come out of a long run over many pools."""
    tokens = [Token(Address(hashlib.sha256(bytes([n])).digest()[:20]), f"T{n}", 18) for n in range(6)]
    tokens.sort(key=lambda item: item.address)
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)] * 2
    pools = [
        msgspec.structs.replace(
            v2_pool(number, tokens[a], tokens[b]), pool=Address(hashlib.sha256(bytes([9, number])).digest()[:20])
        )
        for number, (a, b) in enumerate(pairs)
    ]
    engine = engine_with(
        start_tokens=tuple(item.address for item in tokens[::-1]),
        wrapped_native=tokens[0].address,
        gas_price_wei=3,
        max_cycles_per_pool=20,
    )
    for pool in pools:
        engine.on_metadata(pool)
    signals: list[ArbitrageSignal] = []
    for turn in range(400):
        pool = pools[turn * 7 % len(pools)]
        state = v2_state(pool, 10**12 + turn * 10**9, 10**12 + (turn * 37 % 101) * 10**9, turn, 0)
        engine.on_sync(state)
        signals += engine.on_swap(swap(pool, turn, 1))
    assert len(signals) > 400
    return PayloadCodec(ArbitrageSignal).encode(signals) + repr(engine.statistics()).encode()


def test_the_same_events_give_the_same_bytes_in_every_process() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {hashlib.sha256(transcript()).hexdigest() + "\n"}
