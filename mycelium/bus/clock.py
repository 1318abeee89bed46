"""The system's clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """A :class:`~mycelium.core.clock.Clock` on the host's real-time clock."""

    __slots__ = ()

    time_ns = staticmethod(time.time_ns)
    """Nanoseconds since the Unix epoch."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await asyncio.sleep(seconds)
