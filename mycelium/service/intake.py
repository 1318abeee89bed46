"""Counts what a service reads from outside the fabric, so that the ledger can account for it."""

from __future__ import annotations

from collections import Counter

import structlog

from mycelium.core.ledger import IntakeEntry, Tally

# Refusals reported one by one, per cause. Chosen by us: enough to see the pattern, not enough to
# fill a disk when a whole file is bad. The rest is counted and summed up at the end.
REPORTED_PER_CAUSE = 5


class Intake:
    """One thing that a service reads: a capture, a socket, a state that must be possible.

    Each thing read is accepted, ignored or refused, once.

    Args:
        service: who reads.
        name: what is read.
    """

    def __init__(self, service: str, name: str) -> None:
        self._service = service
        self._name = name
        self._read = 0
        self._accepted = 0
        self._ignored = Tally()
        self._refused = Tally()
        self._reported: Counter[str] = Counter()
        self._log = structlog.get_logger(service).bind(service=service, intake=name)

    def accept(self, number: int = 1) -> None:
        """Count things that became messages or state."""
        self._read += number
        self._accepted += number

    def ignore(self, cause: str, number: int = 1) -> None:
        """Count things that are rightly not for this service."""
        self._read += number
        self._ignored.add(cause, number)

    def refuse(self, cause: str, where: str, detail: str) -> None:
        """Count one bad thing and report it with its position. The service goes on.

        Args:
            cause: which kind of fault, a short name that the ledger shows.
            where: its position, such as a line number or a block and log index.
            detail: what is wrong with it, with the value.
        """
        self._read += 1
        self._refused.add(cause)
        self._reported[cause] += 1
        if self._reported[cause] <= REPORTED_PER_CAUSE:
            self._log.warning("refused", cause=cause, where=where, detail=detail)
            if self._reported[cause] == REPORTED_PER_CAUSE:
                self._log.warning("further refusals are only counted", cause=cause)

    def entry(self) -> IntakeEntry:
        """What the ledger says of it."""
        return IntakeEntry(
            self._service, self._name, self._read, self._accepted, self._ignored.frozen(), self._refused.frozen()
        )
