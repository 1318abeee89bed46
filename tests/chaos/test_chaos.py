"""The short form of ``make chaos``, which CI runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.controller import Controller, make_plan


@pytest.mark.process
@pytest.mark.timeout(300)
def test_nothing_is_lost_while_processes_are_killed(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, 60_000, broker_kills=3, stop_seconds=5)
    verdict = asyncio.run(Controller(plan, print).run())
    assert verdict.is_good, verdict
    assert verdict.published >= plan.total
