"""The system's clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class SystemClock:
    """A :class:`~mycelium.core.clock.Clock` on the host's real-time clock."""

    __slots__ = ("time_ns",)

    def __init__(self) -> None:
        # The function itself and not a method around it: it is called once for every message.
        self.time_ns: Callable[[], int] = time.time_ns

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await asyncio.sleep(seconds)
