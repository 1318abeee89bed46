"""Time is passed in: the protocol that everything which needs the time asks for."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A source of time and of waiting.

    The system's clock is :class:`mycelium.bus.clock.SystemClock`; tests and replays drive a
    :class:`mycelium.testing.ManualClock`.
    """

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock's time."""
        ...
