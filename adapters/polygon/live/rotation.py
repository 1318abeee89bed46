"""Which of several endpoints to ask: those that have answered well lately, and the others now and then.

Public endpoints fail in many ways, and recover. Each one has a score, which an answer raises and a failure lowers; the
best is asked first, and the next one if it fails. An endpoint that says to wait is left alone for so long. A circuit
breaker keeps away from one that fails again and again, and lets one question through after a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

RATE_WAIT_SECONDS = 2.0
"""After "too many requests" without a time. Chosen by us: twice the second that most limits count by."""

LOWEST, HIGHEST = 0.05, 1.0
"""A score is never so low that an endpoint is forgotten."""

MEMORY = 0.8
"""Part of a score that stays at the next answer: some ten answers make up for a failure."""

LAG_PENALTY = 0.1
"""Taken from the score in use for each block that an endpoint's head is behind the others'."""


@dataclass(slots=True)
class Standing:
    """How an endpoint does.

    Args:
        name: as logs and metrics call it: no secrets of its address.
        place: in the configuration; decides between equals.
    """

    name: str
    place: int
    score: float = HIGHEST
    head: int = 0
    """The newest block that it has told of."""
    answered: int = 0
    failed: int = 0
    wait_until: float = 0.0
    """Seconds, of the clock that is passed in."""
    causes: dict[str, int] = field(default_factory=dict)
    """Failures by cause."""
    last_failure: str = ""
    """What it said, or did not, the last time."""


class Rotation:
    """The endpoints, best first.

    Args:
        names: of the endpoints, in the order in which the user prefers them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._standings = {name: Standing(name, place) for place, name in enumerate(names)}
        if not self._standings:
            raise ValueError("a rotation needs an endpoint")

    @property
    def standings(self) -> tuple[Standing, ...]:
        """All of them, in the order given."""
        return tuple(self._standings.values())

    def order(self, now: float, without: Iterable[str] = ()) -> list[str]:
        """Whom to ask, best first: those that need not be left alone, then those that must wait, the shortest first.

        Args:
            now: seconds.
            without: not these.
        """
        left_out = set(without)
        newest = max(standing.head for standing in self._standings.values())
        free: list[Standing] = []
        waiting: list[Standing] = []
        for standing in self._standings.values():
            if standing.name in left_out:
                continue
            (waiting if standing.wait_until > now else free).append(standing)
        free.sort(key=lambda standing: (-self._in_use(standing, newest), standing.place))
        waiting.sort(key=lambda standing: (standing.wait_until, standing.place))
        return [standing.name for standing in (*free, *waiting)]

    def _in_use(self, standing: Standing, newest: int) -> float:
        return standing.score - LAG_PENALTY * (newest - standing.head)

    def wait(self, name: str, now: float) -> float:
        """Seconds until an endpoint may be asked; 0 if it may."""
        return max(0.0, self._standings[name].wait_until - now)

    def answered(self, name: str) -> None:
        """An endpoint has answered as it should."""
        standing = self._standings[name]
        standing.answered += 1
        standing.score = min(HIGHEST, MEMORY * standing.score + (1 - MEMORY) * HIGHEST)

    def failed(self, name: str, cause: str, now: float, wait: float = 0.0, reason: str = "") -> None:
        """An endpoint has failed.

        Args:
            name: which.
            cause: one of few, for metrics.
            now: seconds.
            wait: how long it is to be left alone, seconds.
            reason: for people.
        """
        standing = self._standings[name]
        standing.failed += 1
        standing.last_failure = reason or cause
        standing.causes[cause] = standing.causes.get(cause, 0) + 1
        standing.score = max(LOWEST, MEMORY * standing.score)
        if wait:
            standing.wait_until = max(standing.wait_until, now + wait)

    def saw_head(self, name: str, number: int) -> None:
        """An endpoint has told of a block."""
        self._standings[name].head = max(self._standings[name].head, number)
