"""A clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class ManualClock:
    """A :class:`~mycelium.Clock` that only :meth:`advance` moves.

    Args:
        start_ns: where it begins, ns since the Unix epoch.
    """

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now = start_ns
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1e9), next(self._order), waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its time, in order, and let it run until it waits again."""
        await asyncio.sleep(0)  # what is already due runs before the time moves
        target = self._now + round(seconds * 1e9)
        while self._sleepers and self._sleepers[0][0] <= target:
            self._now, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self._now = target
        await asyncio.sleep(0)
