"""Log lines about what peers send: one for each peer and cause now and then, however often it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

EVERY_NS = 10_000_000_000
"""Between two lines of the same peer and cause. Chosen by us."""

MAX_KEPT = 1_000
"""Peers and causes that are remembered. Beyond it all are forgotten: a few lines too many, and no memory lost."""


class Complaints:
    """Says what was wrong with what a peer sent, at most once in ten seconds for each peer and cause.

    Args:
        time_ns: the time.
    """

    def __init__(self, time_ns: Callable[[], int]) -> None:
        self._time_ns = time_ns
        self._kept: dict[tuple[object, str], tuple[int, int]] = {}

    def say(self, peer: object, cause: str, **what: Any) -> None:
        """Log a warning, unless there was one lately; then count it for the next."""
        now = self._time_ns()
        key = (peer, cause)
        since, unsaid = self._kept.get(key, (now - EVERY_NS, 0))
        if now - since < EVERY_NS:
            self._kept[key] = (since, unsaid + 1)
            return
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (now, 0)
        log.warning(cause, peer=str(peer), **what, **({"and_before": unsaid} if unsaid else {}))
