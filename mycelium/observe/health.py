"""The states of a service and of a host."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class HealthState(enum.StrEnum):
    """Where in its life a service is. The order is the order of a good life; FAILED can follow any."""

    CREATED = "created"
    STARTING = "starting"
    READY = "ready"
    """Started, and every subscription it declares is attached."""
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Health:
    """A service's health at one moment.

    Args:
        service: its name.
        state: where in its life it is.
        handled: messages its handlers have finished.
        retried: handler calls that were tried again.
        dead_letters: messages its handlers gave up.
        error: why it failed, if it did.
    """

    service: str
    state: HealthState
    handled: int = 0
    retried: int = 0
    dead_letters: int = 0
    error: str | None = None
