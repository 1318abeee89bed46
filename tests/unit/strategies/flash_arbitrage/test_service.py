"""The service between its bus and its engine, in a host as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from contracts.market import BlockClosed, PoolMetadata, PoolSync, SwapEvent
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
    publishes = (PoolMetadata, PoolSync, SwapEvent, BlockClosed)
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
