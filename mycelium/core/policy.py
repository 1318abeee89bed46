"""What a subscription does when its queue is full. The same on every path."""

from __future__ import annotations

import enum


class QueuePolicy(enum.StrEnum):
    """The five policies. All but ``block`` count what they drop, by this name, in the ledger."""

    BLOCK = "block"
    """The publisher waits. Nothing is dropped."""
    DROP_OLDEST = "drop_oldest"
    """The oldest queued message makes room."""
    DROP_NEWEST = "drop_newest"
    """The arriving message is dropped."""
    LATEST = "latest"
    """Only the newest message of each topic is kept; it takes the place of the one it replaces."""
    ERROR = "error"
    """The arriving message is dropped and the reader gets a QueueFullError at that place."""


class Delivery(enum.StrEnum):
    """What the fabric promises for a contract's messages."""

    RELIABLE = "reliable"
    """Every message arrives, in order."""
    LIVE = "live"
    """The newest data only; older messages may be dropped, counted."""
