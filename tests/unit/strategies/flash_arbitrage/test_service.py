"""The service between its bus and its engine, in a host as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec.structs import replace

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from contracts.signals import ArbitrageSignal
from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Outcome, Placement, Service, handles
from strategies.flash_arbitrage.service import FlashArbitrage
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from tests.unit.strategies.flash_arbitrage.reference import assert_profitable, swap, token, v2_pool, v2_state

ONE, TWO = token(1), token(2)
CHEAP, DEAR = v2_pool(0, ONE, TWO), v2_pool(1, ONE, TWO)
STATES = v2_state(CHEAP, 10**9, 12 * 10**8, 6, 0), v2_state(DEAR, 10**9, 10**9, 5, 0)


class Feed(Service[NoSettings]):
    """Publishes what a test gave it."""

    name = "feed"
    publishes = (PoolMetadata, PoolSync, SwapEvent, BlockClosed, BlockRetracted)
    messages: ClassVar[Sequence[Message]] = ()

    async def run(self) -> None:
        for message in self.messages:
            await self.publish(message)


class Listener(Service[NoSettings]):
    """Keeps the signals."""

    name = "listener"
    heard: ClassVar[list[ArbitrageSignal]] = []

    @handles(ArbitrageSignal)
    async def on_signal(self, signal: ArbitrageSignal) -> None:
        self.heard.append(signal)


BLOCKS = (
    BlockClosed(137, 5, 0, swaps=0, syncs=1, pools=2),
    BlockClosed(137, 6, 0, swaps=1, syncs=1, pools=2),
)


async def run(*messages: Message, **settings: int) -> tuple[list[ArbitrageSignal], Outcome]:
    Feed.messages = messages
    Listener.heard = []
    placements = [
        Placement(Feed, NoSettings()),
        Placement(
            FlashArbitrage,
            FlashArbitrageSettings(
                start_tokens=(ONE.address,), wrapped_native=ONE.address, gas_price_wei=0, **settings
            ),
        ),
        Placement(Listener, NoSettings()),
    ]
    outcome = await Host(placements, clock=SystemClock()).run()
    assert outcome.ledger.balanced
    return Listener.heard, outcome


def booked(outcome: Outcome, intake: str) -> tuple[int, dict[str, int], dict[str, int]]:
    (entry,) = (entry for entry in outcome.ledger.intakes if entry.name == intake)
    return entry.accepted, dict(entry.ignored), dict(entry.refused)


async def test_a_gap_becomes_a_signal_on_the_bus() -> None:
    (signal,), outcome = await run(CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1), *BLOCKS)
    states = {state.pool: state for state in STATES}
    assert_profitable(signal, {pool.pool: pool for pool in (CHEAP, DEAR)}, states, 5)
    assert [booked(outcome, name) for name in ("pool_metadata", "market_event", "block")] == [
        (2, {}, {}),
        (3, {}, {}),
        (2, {}, {}),
    ]


async def test_whatever_comes_last_the_signal_is_the_same() -> None:
    whole = (CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1), *BLOCKS)
    at_once, _ = await run(*whole)
    assert len(at_once) == 1
    for last in whole:
        late, _ = await run(*(message for message in whole if message is not last), last)
        assert late == at_once


async def test_what_comes_again_is_counted_and_not_done_twice() -> None:
    whole = (CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1), *BLOCKS)
    heard, outcome = await run(*whole, *whole)
    assert len(heard) == 1
    assert [booked(outcome, name) for name in ("pool_metadata", "market_event", "block")] == [
        (2, {"repeated": 2}, {}),
        (3, {"of a block that is done": 3}, {}),
        (2, {"repeated": 2}, {}),
    ]


async def test_what_cannot_be_is_refused_by_its_cause_and_stops_nothing() -> None:
    heard, outcome = await run(
        CHEAP,
        DEAR,
        v2_pool(7, TWO, ONE),
        v2_state(CHEAP, 0, 1, 4, 0),
        *STATES,
        swap(CHEAP, 6, 1),
        BlockClosed(137, 4, 0, swaps=0, syncs=1, pools=3),
        *BLOCKS,
    )
    assert len(heard) == 1
    assert booked(outcome, "market_event") == (3, {}, {"reserve_not_positive": 1})
    assert booked(outcome, "pool_metadata") == (2, {}, {"tokens_not_sorted": 1})


async def test_a_block_that_stays_incomplete_is_refused_by_name_and_stops_nothing() -> None:
    lost = (CHEAP, DEAR, STATES[0], swap(CHEAP, 6, 1), *BLOCKS)  # block 5 has no state
    later = (v2_state(DEAR, 10**9, 10**9, 7, 0), swap(DEAR, 7, 1), BlockClosed(137, 7, 0, swaps=1, syncs=1, pools=2))
    heard, outcome = await run(*lost, *later, max_waiting=6)
    assert [signal.block for signal in heard] == [7]
    assert booked(outcome, "block") == (2, {}, {"incomplete_block": 1})


async def test_at_the_end_a_block_that_was_not_closed_is_worked_through() -> None:
    heard, outcome = await run(CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1), BLOCKS[0])
    assert [signal.block for signal in heard] == [6]
    assert booked(outcome, "block") == (1, {}, {"incomplete_block": 1})


# --- another way ----------------------------------------------------------------------------------

BEFORE = v2_state(CHEAP, 10**9, 10**9, 5, 2)
OLD = (CHEAP, DEAR, BEFORE, *STATES, swap(CHEAP, 6, 1), replace(BLOCKS[0], syncs=2), BLOCKS[1])
RETRACTED = BlockRetracted(137, 6, branch=1)
OTHER_STATE = replace(v2_state(DEAR, 10**9, 13 * 10**8, 6, 3), branch=1)
NEW = (OTHER_STATE, replace(swap(DEAR, 6, 4), branch=1), replace(BLOCKS[1], branch=1))


async def test_a_block_that_was_replaced_leaves_its_signal_void_and_nothing_else() -> None:
    (first, second), outcome = await run(*OLD, RETRACTED, *NEW)
    assert (first.block, first.branch, second.block, second.branch) == (6, 0, 6, 1)
    states = {CHEAP.pool: BEFORE, DEAR.pool: OTHER_STATE}
    assert_profitable(second, {pool.pool: pool for pool in (CHEAP, DEAR)}, states, 5)
    assert booked(outcome, "retraction") == (1, {}, {})
    assert booked(outcome, "block") == (3, {}, {})


async def test_whatever_comes_first_of_two_branches_the_one_that_counts_is_worked_through() -> None:
    plain, _ = await run(*OLD, RETRACTED, *NEW)
    for arriving in (
        (*NEW[:2], RETRACTED, *OLD, NEW[2]),
        (*OLD, *NEW, RETRACTED),
        (RETRACTED, *OLD, *NEW),
        (*OLD[:-1], RETRACTED, OLD[-1], *NEW, RETRACTED, *NEW),
    ):
        heard, outcome = await run(*arriving)
        assert [signal for signal in heard if signal.branch] == [signal for signal in plain if signal.branch]
        assert booked(outcome, "retraction")[0] == 1
        assert not booked(outcome, "market_event")[2]
        for name in ("market_event", "block"):
            accepted, ignored, _ = booked(outcome, name)
            kinds = (BlockClosed,) if name == "block" else (PoolSync, SwapEvent)
            assert accepted + sum(ignored.values()) == sum(isinstance(message, kinds) for message in arriving)


async def test_what_is_void_before_it_is_worked_through_is_ignored_by_name() -> None:
    heard, outcome = await run(*OLD[:-2], RETRACTED, *OLD[-2:], *NEW)
    assert [signal.branch for signal in heard] == [1]
    assert booked(outcome, "market_event") == (4, {"of a branch that is void": 2}, {})
    assert booked(outcome, "block") == (2, {"of a branch that is void": 1}, {})
    assert booked(outcome, "retraction") == (1, {}, {})


async def test_a_closed_block_that_waits_and_becomes_void_is_ignored_by_name() -> None:
    incomplete = [message for message in OLD if not isinstance(message, SwapEvent)]
    heard, outcome = await run(*incomplete, RETRACTED, *NEW)
    assert [signal.branch for signal in heard] == [1]
    assert booked(outcome, "market_event") == (4, {"of a branch that is void": 1}, {})
    assert booked(outcome, "block") == (2, {"of a branch that is void": 1}, {})
