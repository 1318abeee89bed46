"""How late an event loop comes to what is due: what a handler that does not await does to all others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from mycelium.observe.figures import Figures
from mycelium.observe.latency import LatencyHistogram

EVERY_SECONDS = 0.5
"""Between two looks. Chosen by us: a loop that stands still for a second is seen for certain, at no cost."""


class LoopDelay:
    """Measures the running event loop while :meth:`measured` is entered."""

    def __init__(self) -> None:
        self.histogram: LatencyHistogram = LatencyHistogram()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Look now and then, as long as the block runs."""
        self._loop = asyncio.get_running_loop()
        self._again()
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def tell(self, figures: Figures) -> None:
        """Add the figures."""
        text = "How late the event loop comes to what is due, looked at twice a second."
        figures.histogram("mycelium_event_loop_delay_seconds", text).merge(self.histogram)

    def _again(self) -> None:
        self._due = self._loop.time() + EVERY_SECONDS
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self.histogram.record(round((self._loop.time() - self._due) * 1e9))
        self._again()
