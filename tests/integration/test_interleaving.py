"""The strategy and the report give the same bytes, however the streams they read are interleaved, and whatever comes
again: in other processes only the order on one topic holds, and a crash repeats."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.polygon.service import PolygonAdapter
from adapters.polygon.settings import PolygonSettings
from adapters.report.service import POOLS, PRICES, SIGNALS, ReportSettings, RunReport
from contracts.market import BlockClosed, PoolMetadata, PoolSync, SwapEvent
from contracts.signals import ArbitrageSignal
from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Outcome, Placement, Service, handles
from mycelium.topology.load import load_topology
from strategies.flash_arbitrage.service import FlashArbitrage
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from tests.conftest import REPOSITORY
from tests.interleaving import interleaved

BLOCKS = 40
"""Of the demo's 402: enough for dozens of signals from all its pools."""


class Recorder(Service[NoSettings]):
    """Keeps what the adapter publishes, in its order."""

    name = "recorder"
    heard: ClassVar[list[Message]] = []

    @handles(PoolMetadata)
    async def on_metadata(self, message: PoolMetadata) -> None:
        self.heard.append(message)

    @handles(PoolSync)
    async def on_sync(self, message: PoolSync) -> None:
        self.heard.append(message)

    @handles(SwapEvent)
    async def on_swap(self, message: SwapEvent) -> None:
        self.heard.append(message)

    @handles(BlockClosed)
    async def on_block_closed(self, message: BlockClosed) -> None:
        self.heard.append(message)


class Feed(Service[NoSettings]):
    """Publishes what a test gave it."""

    name = "feed"
    publishes = (PoolMetadata, PoolSync, SwapEvent, BlockClosed, ArbitrageSignal)
    messages: ClassVar[Sequence[Message]] = ()

    async def run(self) -> None:
        for message in self.messages:
            await self.publish(message)


class Ear(Service[NoSettings]):
    """Keeps the signals in the order in which they were published."""

    name = "ear"
    heard: ClassVar[list[ArbitrageSignal]] = []

    @handles(ArbitrageSignal)
    async def on_signal(self, signal: ArbitrageSignal) -> None:
        self.heard.append(signal)


class Result(NamedTuple):
    signals: list[ArbitrageSignal]
    files: dict[str, bytes]
    outcome: Outcome

    def intake(self, name: str) -> tuple[int, dict[str, int], dict[str, int]]:
        (entry,) = (entry for entry in self.outcome.ledger.intakes if entry.name == name)
        return entry.accepted, dict(entry.ignored), dict(entry.refused)


def hosted(*placements: Placement) -> Outcome:
    outcome = asyncio.run(Host(placements, clock=SystemClock()).run())
    assert outcome.drained
    assert not outcome.failed
    assert outcome.ledger.balanced
    return outcome


@cache
def recorded() -> tuple[Message, ...]:
    """What the adapter publishes of the demo's first blocks."""
    source = REPOSITORY / "adapters" / "polygon" / "captures" / "demo.jsonl.gz"
    Recorder.heard = []
    hosted(Placement(PolygonAdapter, PolygonSettings(source=source)), Placement(Recorder, NoSettings()))
    closings = [place for place, message in enumerate(Recorder.heard) if isinstance(message, BlockClosed)]
    return tuple(Recorder.heard[: closings[BLOCKS - 1] + 1])


@cache
def strategy_settings() -> FlashArbitrageSettings:
    values = load_topology(REPOSITORY / "config" / "monolith.toml").values
    return FlashArbitrageSettings.model_validate(values.services["flash_arbitrage"])


def play(messages: Sequence[Message], *, strategy: bool = True) -> Result:
    """The strategy and the report on these messages, in this order."""
    Feed.messages, Ear.heard = messages, []
    services = [Placement(Feed, NoSettings()), Placement(Ear, NoSettings())]
    if strategy:
        services.append(Placement(FlashArbitrage, strategy_settings()))
    with tempfile.TemporaryDirectory() as directory:
        outcome = hosted(*services, Placement(RunReport, ReportSettings(directory=Path(directory))))
        files = {name: (Path(directory) / name).read_bytes() for name in (SIGNALS, PRICES, POOLS)}
        assert {path.name for path in Path(directory).iterdir()} == set(files)
    return Result(list(Ear.heard), files, outcome)


@cache
def expected() -> Result:
    result = play(recorded())
    assert len(result.signals) > 50
    assert {type(message) for message in recorded()} == {PoolMetadata, PoolSync, SwapEvent, BlockClosed}
    return result


@settings(max_examples=60)
@given(st.data())
def test_any_interleaving_with_any_repeats_gives_the_same_signals_in_the_same_order(data: st.DataObject) -> None:
    messages = data.draw(interleaved(recorded()))
    result = play(messages)
    assert result.signals == expected().signals
    assert result.files == expected().files
    accepted, ignored, refused = result.intake("market_event")
    assert accepted == expected().intake("market_event")[0]
    assert not refused
    assert result.intake("block")[0] == BLOCKS
    repeats = sum(sum(result.intake(name)[1].values()) for name in ("market_event", "block", "pool_metadata"))
    assert repeats == len(messages) - len(recorded())
    assert set(ignored) <= {"repeated", "of a block that is done"}


@settings(max_examples=40)
@given(st.data(), st.integers(0, 10**6))
def test_an_adapter_that_is_killed_and_started_again_changes_nothing(data: st.DataObject, place: int) -> None:
    """What it had published arrives in part, streams cut anywhere; then it begins again."""
    former = data.draw(interleaved(recorded(), repeats=False))
    again = data.draw(interleaved(recorded(), repeats=False))
    result = play([*former[: place % len(former)], *again])
    assert result.signals == expected().signals
    assert result.files == expected().files
    assert not any(result.intake(name)[2] for name in ("market_event", "block", "pool_metadata"))


@settings(max_examples=40)
@given(st.data())
def test_the_report_puts_signals_of_any_order_in_order(data: st.DataObject) -> None:
    pools_and_states = [message for message in recorded() if isinstance(message, PoolMetadata | PoolSync)]
    messages = [*pools_and_states, *expected().signals]
    result = play(data.draw(interleaved(messages)), strategy=False)
    assert result.files == expected().files


def test_the_files_are_in_the_order_of_the_chain() -> None:
    lines = [(signal.block, signal.log_index, signal.signal_id) for signal in expected().signals]
    assert lines == sorted(lines)
    assert expected().files[SIGNALS].count(b"\n") == len(lines)
    assert expected().files[PRICES].count(b"\n") == sum(isinstance(message, PoolSync) for message in recorded())
