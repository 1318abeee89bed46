"""The report in a host: what it does with what comes early, late or twice. Any order is in tests/integration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.report import service
from adapters.report.service import POOLS, PRICES, SIGNALS, ReportSettings, RunReport
from contracts.market import BlockRetracted, PoolMetadata, PoolSync
from contracts.signals import ArbitrageSignal
from contracts.values import I256, U256
from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Outcome, Placement, Service
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool, v2_state

POOL, OTHER = (v2_pool(number, token(1), token(2)) for number in (1, 2))


class Feed(Service[NoSettings]):
    """Publishes what a test gave it."""

    name = "feed"
    publishes = (PoolMetadata, PoolSync, BlockRetracted, ArbitrageSignal)
    messages: ClassVar[Sequence[Message]] = ()

    async def run(self) -> None:
        for message in self.messages:
            await self.publish(message)


def report(directory: Path, *messages: Message) -> Outcome:
    Feed.messages = messages
    placements = [Placement(Feed, NoSettings()), Placement(RunReport, ReportSettings(directory=directory))]
    outcome = asyncio.run(Host(placements, clock=SystemClock()).run())
    assert outcome.ledger.balanced
    return outcome


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def causes(outcome: Outcome) -> dict[str, dict[str, int]]:
    return {entry.name: {**entry.ignored, **entry.refused} for entry in outcome.ledger.intakes}


def test_a_price_waits_for_the_description_of_its_pool(tmp_path: Path) -> None:
    outcome = report(tmp_path, v2_state(POOL, 2, 4, 1), v2_state(POOL, 2, 6, 2), POOL, v2_state(POOL, 2, 8, 3))
    assert [(line["block"], line["price"]) for line in lines(tmp_path / PRICES)] == [(1, 2.0), (2, 3.0), (3, 4.0)]
    assert causes(outcome) == {}


def test_a_price_whose_pool_is_never_described_is_refused_by_name(tmp_path: Path) -> None:
    outcome = report(tmp_path, v2_state(POOL, 2, 4, 1), OTHER)
    assert lines(tmp_path / PRICES) == []
    assert causes(outcome) == {"pool_state": {"unknown_pool": 1}}


def test_prices_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    first = [v2_state(POOL, 2, 4, block) for block in (1, 2, 3)]
    then = [v2_state(OTHER, 2, 4, block) for block in (4, 5, 6)]
    outcome = report(tmp_path, *first, POOL, *then, OTHER)
    assert [line["block"] for line in lines(tmp_path / PRICES)] == [1, 2, 4, 5]
    assert causes(outcome) == {"pool_state": {"unknown_pool": 2}}


def test_repeats_are_left_out_and_counted(tmp_path: Path) -> None:
    state = v2_state(POOL, 2, 4, 1)
    outcome = report(tmp_path, POOL, state, OTHER, POOL, state, state)
    assert [line["instrument"] for line in lines(tmp_path / POOLS)] == ["pool-1", "pool-2"]
    assert len(lines(tmp_path / PRICES)) == 1
    assert causes(outcome) == {POOLS: {"repeated": 1}, PRICES: {"repeated": 2}}


# --- what the chain has given up ------------------------------------------------------------------


def price(block: int, branch: int) -> PoolSync:
    return replace(v2_state(POOL, 2, 4 + branch, block), branch=branch)


def signal(block: int, branch: int) -> ArbitrageSignal:
    amounts = I256(1), U256(0), U256(0), I256(1)
    return ArbitrageSignal("strategy", "t1", bytes([branch]), block, 0, 0, (), *amounts, branch)


def of(path: Path) -> list[tuple[int, int]]:
    return [(line["block"], line.get("branch", 0)) for line in lines(path)]


RETRACTIONS = (BlockRetracted(137, 8, 1), BlockRetracted(137, 6, 2), BlockRetracted(137, 9, 3))
KEPT = [(5, 0), (6, 2), (7, 2), (8, 2), (9, 3)]
BRANCHES = {0: (5, 6, 7, 8), 1: (8, 9), 2: (6, 7, 8, 9), 3: (9,)}
TOLD = [(block, branch) for branch, blocks in BRANCHES.items() for block in blocks]


@given(st.permutations(TOLD), st.lists(st.integers(0, len(TOLD)), min_size=3, max_size=3).map(sorted))
def test_what_is_void_is_in_no_file_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[int, int]], places: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("report")
    messages: list[Message] = [message for at in order for message in (price(*at), signal(*at))]
    for place, retraction in reversed(list(zip(places, RETRACTIONS, strict=True))):
        messages.insert(2 * place, retraction)
    outcome = report(directory, POOL, *messages, *RETRACTIONS[:2])
    assert of(directory / PRICES) == of(directory / SIGNALS) == KEPT
    assert len(lines(directory / POOLS)) == 1
    void = {"of a branch that is void": len(TOLD) - len(KEPT)}
    assert causes(outcome) == {PRICES: void, SIGNALS: void}


def test_what_is_void_goes_also_from_files_that_are_in_order(tmp_path: Path) -> None:
    void = replace(v2_state(POOL, 2, 9, 8), log_index=0)
    kept = replace(price(8, 1), log_index=5)
    outcome = report(tmp_path, POOL, void, kept, BlockRetracted(137, 8, 1))
    assert of(tmp_path / PRICES) == [(8, 1)]
    assert causes(outcome) == {PRICES: {"of a branch that is void": 1}}


def test_a_retraction_above_everything_leaves_everything(tmp_path: Path) -> None:
    outcome = report(tmp_path, POOL, price(8, 0), signal(8, 0), BlockRetracted(137, 9, 1))
    assert of(tmp_path / PRICES) == of(tmp_path / SIGNALS) == [(8, 0)]
    assert "branch" not in lines(tmp_path / PRICES)[0]
    assert causes(outcome) == {}
