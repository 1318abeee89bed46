"""How late an event loop is: a loop that is free, one that stands still, and none that is looked at."""

from __future__ import annotations

import asyncio
import time

import pytest

from mycelium.observe import loop_delay
from mycelium.observe.figures import Figures
from mycelium.observe.loop_delay import LoopDelay
from tests.unit.transport.stores import until


async def test_a_loop_that_stands_still_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_delay, "EVERY_SECONDS", 0.01)
    delay = LoopDelay()
    with delay.measured():
        await until(lambda: delay.histogram.count >= 2)
        time.sleep(0.3)  # noqa: ASYNC251 - what is to be seen
        await until(lambda: delay.histogram.count >= 3)
    assert delay.histogram.maximum >= 0.28e9
    figures = Figures()
    delay.tell(figures)
    assert figures.families["mycelium_event_loop_delay_seconds"].histograms[()] is delay.histogram


async def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_delay, "EVERY_SECONDS", 0.01)
    delay = LoopDelay()
    with delay.measured():
        await until(lambda: delay.histogram.count >= 1)
    count = delay.histogram.count
    await asyncio.sleep(0.05)
    assert delay.histogram.count == count
