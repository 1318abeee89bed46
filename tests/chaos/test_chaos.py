"""The short form of ``make chaos``, which CI runs, and a bad network between hosts."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.controller import Controller, make_bundled_plan, make_plan
from tests.chaos.hosts import Hosts, reason_against
from tests.chaos.plan import bad_network, kills


@pytest.mark.process
@pytest.mark.timeout(300)
def test_nothing_is_lost_while_processes_are_killed(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, 60_000)
    plan = replace(plan, events=kills(plan, broker_kills=3, stop_seconds=5))
    verdict = asyncio.run(Controller(plan, print).run())
    assert verdict.is_good, verdict
    assert verdict.published >= plan.total


@pytest.mark.process
@pytest.mark.timeout(300)
def test_nothing_is_lost_without_a_broker(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="my-") as directory:  # ipc paths are short
        plan = make_bundled_plan(Path(directory), 60_000)
        plan = replace(plan, events=tuple(event for event in kills(plan, 1, stop_seconds=5) if event[2] != "broker"))
        verdict = asyncio.run(Controller(plan, print).run())
    assert verdict.is_good, verdict
    assert verdict.published >= plan.total


@pytest.mark.process
@pytest.mark.timeout(300)
def test_nothing_is_lost_in_a_bad_network(tmp_path: Path) -> None:
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    plan = replace(make_plan(tmp_path, 60_000, host="broker"), events=bad_network())
    with Hosts(("broker", "writers", "readers")) as hosts:
        verdict = asyncio.run(Controller(plan, print, hosts).run())
    assert verdict.is_good, verdict
    assert verdict.published >= plan.total
