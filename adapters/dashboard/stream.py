"""What a browser is sent: the whole picture first, then what changes.

Theory of operation. Nothing is queued for a browser. It is asked again and again what it does not know yet, when it has
taken what it was sent, and is told how things stand then; so one that is slow costs no memory and misses only what was
true for a moment. Signals are told one by one as long as they are kept; of one that has fallen further behind the page
is drawn anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from adapters.dashboard.picture import Picture
from adapters.dashboard.signals import MAX_SIGNALS

TICK_SECONDS = 0.25
"""Between two looks at what has changed. Chosen by us: it seems immediate, and leaves time to read."""
STILL_NS = 1_000_000_000
"""When nothing changes, how things stand is said anyway after so long: ages go on, and who listens knows that we do."""
RETRY_MS = 1_000
"""When a browser tries again after it has lost the connection."""


class Cursor:
    """What one browser knows.

    Args:
        picture: what there is to know.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._number = 0
        self._news = -1
        self._gone: frozenset[str] = frozenset()
        self._signals = -1
        self._told = 0

    def events(self, now: int) -> bytes:
        """What it does not know yet, as server-sent events; nothing if there is nothing.

        Args:
            now: ns since the Unix epoch.
        """
        total = self._picture.signals.total
        if self._signals < 0:
            return f"retry: {RETRY_MS}\n".encode() + self._whole(now, total)
        if total - self._signals > MAX_SIGNALS:
            return self._whole(now, total)
        found = b""
        if total > self._signals:
            newest = self._picture.signals.newest(self._signals)
            self._signals = total
            found = self._event("signals", {"signals": newest, "signals_total": total})
        if self._news != self._picture.news or self._gone != self._picture.gone(now) or now - self._told >= STILL_NS:
            found += self._event("status", self._picture.status(now))
            self._knows(now)
        return found

    def _whole(self, now: int, total: int) -> bytes:
        self._signals = total
        self._knows(now)
        return self._event("whole", self._picture.whole(now))

    def _knows(self, now: int) -> None:
        self._news, self._gone, self._told = self._picture.news, self._picture.gone(now), now

    def _event(self, kind: str, data: Any) -> bytes:
        self._number += 1
        # JSON has no line breaks of its own, so one line of data holds it all.
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self._number, kind.encode(), msgspec.json.encode(data))


async def events(picture: Picture, time_ns: Callable[[], int], closing: asyncio.Event) -> AsyncIterator[bytes]:
    """What one browser is sent, until the server is to end.

    Args:
        picture: what there is to know.
        time_ns: the time.
        closing: set when the server is to end.
    """
    cursor = Cursor(picture)
    while not closing.is_set():
        found = cursor.events(time_ns())
        if found:
            yield found
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await closing.wait()
        except TimeoutError:
            continue
