"""The service between its bus and its engine, in a host as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from contracts.market import PoolMetadata, PoolSync, SwapEvent
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
    publishes = (PoolMetadata, PoolSync, SwapEvent)
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


async def run(*messages: Message) -> tuple[list[ArbitrageSignal], Outcome]:
    Feed.messages = messages
    Listener.heard = []
    settings = FlashArbitrageSettings(start_tokens=(ONE.address,), wrapped_native=ONE.address, gas_price_wei=0)
    placements = [
        Placement(Feed, NoSettings()),
        Placement(FlashArbitrage, settings),
        Placement(Listener, NoSettings()),
    ]
    outcome = await Host(placements, clock=SystemClock()).run()
    assert outcome.ledger.balanced
    return Listener.heard, outcome


async def test_a_gap_becomes_a_signal_on_the_bus() -> None:
    (signal,), _ = await run(CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1))
    states = {state.pool: state for state in STATES}
    assert_profitable(signal, {pool.pool: pool for pool in (CHEAP, DEAR)}, states, 5)


async def test_a_swap_that_waited_for_state_or_metadata_becomes_a_signal_too() -> None:
    late_state, _ = await run(CHEAP, DEAR, STATES[1], swap(CHEAP, 6, 1), STATES[0])
    late_metadata, _ = await run(*STATES, swap(CHEAP, 6, 1), DEAR, CHEAP)
    at_once, _ = await run(CHEAP, DEAR, *STATES, swap(CHEAP, 6, 1))
    assert late_state == late_metadata == at_once
    assert len(at_once) == 1


async def test_what_cannot_be_is_refused_by_its_cause_and_stops_nothing() -> None:
    heard, outcome = await run(
        CHEAP,
        DEAR,
        v2_pool(7, TWO, ONE),
        v2_state(CHEAP, 0, 1, 4, 0),
        *STATES,
        v2_state(CHEAP, 5, 5, 3, 0),
        swap(CHEAP, 6, 1),
    )
    assert len(heard) == 1
    intakes = {entry.name: entry for entry in outcome.ledger.intakes if entry.service == "flash_arbitrage"}
    states, pools = intakes["pool_state"], intakes["pool_metadata"]
    assert dict(states.ignored) == {"older than the one held": 1}
    assert (states.accepted, dict(states.refused)) == (2, {"reserve_not_positive": 1})
    assert (pools.accepted, dict(pools.refused)) == (2, {"tokens_not_sorted": 1})
