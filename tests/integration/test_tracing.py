"""One trace leads from the log that was decoded to the signal that was received, through all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.processes.collector import Collected, collector

pytestmark = pytest.mark.process

SERVICES = {"polygon_adapter", "broker", "flash_arbitrage", "run_report", "dashboard"}
"""Who has a part in the trace of a signal, each in a process of its own."""


def demo(directory: Path, mode: str, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "mycelium", "demo", "--mode", mode, "--summary", str(directory / "summary.json")],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(directory),
            "MYCELIUM_TRACING__ENDPOINT": endpoint,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result


def ends_in_a_signal(spans: Iterable[Collected]) -> str | None:
    """A trace in which the dashboard and the report have received a signal."""
    readers: dict[str, set[str]] = {}
    for span in spans:
        if span.name == "process ArbitrageSignal":
            readers.setdefault(span.trace_id, set()).add(span.resource["service.name"])
    return next((trace for trace, who in readers.items() if who == {"run_report", "dashboard"}), None)


def test_from_the_log_to_the_signal_through_all_processes(tmp_path: Path) -> None:
    with collector() as (collected, endpoint):
        demo(
            tmp_path,
            "distributed",
            endpoint,
            MYCELIUM_TRACING__RATIO="1",
            MYCELIUM_TRACING__PER_SECOND="1000000",
        )
        trace_id = ends_in_a_signal(collected.wait_for(lambda spans: ends_in_a_signal(spans) is not None))
        spans = [span for span in collected.spans if span.trace_id == trace_id]
    by_id = {span.span_id: span for span in spans}
    received = next(
        span
        for span in spans
        if span.name == "process ArbitrageSignal" and span.resource["service.name"] == "dashboard"
    )
    way = [received]
    while way[-1].parent_id:
        assert way[-1].parent_id in by_id, f"{way[-1].name} has a parent that was never sent"
        way.append(by_id[way[-1].parent_id])
    names = [f"{span.resource['service.name']}: {span.name.split()[0]}" for span in reversed(way)]
    assert names == [
        "polygon_adapter: block",
        "polygon_adapter: publish",
        "flash_arbitrage: process",
        "flash_arbitrage: publish",
        "dashboard: process",
    ]
    kept = [span for span in spans if span.name == "broker"]
    assert {span.parent_id for span in kept} >= {way[1].span_id, way[3].span_id}, "the broker kept both"
    pids = {span.resource["service.name"]: span.resource["process.pid"] for span in spans}
    assert pids.keys() == SERVICES
    assert len(set(pids.values())) == len(SERVICES), "each in a process of its own"
    assert {span.resource["service.namespace"] for span in spans} == {"polygon-arbitrage"}
    signal, cause = way[1], way[2]
    assert signal.attributes["mycelium.causation"].startswith(cause.attributes["messaging.destination.name"])
    for inner, outer in pairwise(way):
        assert inner.began >= outer.began, f"{inner.name} began before {outer.name}"
