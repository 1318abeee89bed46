"""A process tells its figures on the bus, once a second."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable

from mycelium.bus.bus import Bus
from mycelium.core.clock import Clock
from mycelium.observe.figures import Figures, Remembered
from mycelium.observe.statistics import SECONDS, ProcessStatistics, statistics_of
from mycelium.transport.complaints import Complaints

LAST_SECONDS = 0.5
"""How long the last message may take to leave. Chosen by us: nobody may wait for a process because it is watched."""

SHARE = 0.05
"""Of the time of a process that has so much to tell that it takes long: thousands of streams take 70 ms."""

MOST_SECONDS = 2.0
"""Between two messages all the same: who has said nothing for three seconds is taken for gone."""

Say = Callable[[ProcessStatistics], Awaitable[None]]
"""Publishes a message."""


class Telling:
    """Gathers what one process says of itself, and has it said.

    Args:
        process: its name, one topic segment.
        version: of the program.
        tell: adds its figures. Whatever it raises is logged, and the process goes on.
        clock: says when a second is over, and what time it is.
    """

    def __init__(self, process: str, version: str, tell: Callable[[Figures], None], clock: Clock) -> None:
        self._process = process
        self._version = version
        self._tell = tell
        self._clock = clock
        self._epoch = clock.time_ns()
        self._remembered = Remembered()
        self._complaints = Complaints(clock.time_ns)

    def message(self) -> ProcessStatistics:
        """What there is to say now."""
        figures = Figures(self._remembered)
        self._tell(figures)
        _tell_cpu(figures)
        return statistics_of(self._process, self._epoch, self._clock.time_ns(), self._version, figures)

    async def say(self, say: Say) -> None:
        """Say it once. A failure is logged, now and then."""
        try:
            await say(self.message())
        except Exception as error:  # noqa: BLE001 - whatever it is, the process has better things to do
            self._complaints.say(self._process, "cannot tell the statistics", error=f"{type(error).__name__}: {error}")

    @contextlib.asynccontextmanager
    async def saying(self, say: Say) -> AsyncIterator[None]:
        """Say it now, every second while the block runs, and once more when it has ended."""
        task = asyncio.create_task(self._for_ever(say), name="tell statistics")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.say(say)

    @contextlib.asynccontextmanager
    async def publishing(self, bus: Bus) -> AsyncIterator[None]:
        """:meth:`saying` on a bus."""
        publisher = bus.publisher(ProcessStatistics)
        try:
            async with self.saying(publisher.publish):
                yield
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await publisher.aclose()

    async def _for_ever(self, say: Say) -> None:
        while True:
            began = self._clock.time_ns()
            await self.say(say)
            spent = (self._clock.time_ns() - began) / 1e9
            await self._clock.sleep(min(max(SECONDS, spent / SHARE), MOST_SECONDS))


def _tell_cpu(figures: Figures) -> None:
    # With the name that it has at /metrics, where the client library adds it.
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures.counter("process_cpu_seconds", "CPU time used, by user and system.").add(used.ru_utime + used.ru_stime)
