"""The report in a host: what it does with what comes early, late or twice. Any order is in tests/integration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapters.report import service
from adapters.report.service import POOLS, PRICES, ReportSettings, RunReport
from contracts.market import PoolMetadata, PoolSync
from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Outcome, Placement, Service
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool, v2_state

POOL, OTHER = (v2_pool(number, token(1), token(2)) for number in (1, 2))


class Feed(Service[NoSettings]):
    """Publishes what a test gave it."""

    name = "feed"
    publishes = (PoolMetadata, PoolSync)
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
