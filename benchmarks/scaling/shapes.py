"""How many publish, read, and on how many topics; and what each process does of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mycelium.bench.roles import RUN
from mycelium.core.errors import MyceliumError

PROCESSES = 2
"""Of publishers and of readers, at most. Chosen by us: each thing in them has sockets of its own, as if it were in a
process of its own; sixty processes of Python would measure how a kernel changes between them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is measured.

    Args:
        publishers: how many, each on topics of its own.
        readers: how many, each of everything.
        topics: of each publisher, which it goes round.
        run: messages that follow one another on one topic.
    """

    publishers: int = 1
    readers: int = 1
    topics: int = 1
    run: int = RUN

    @property
    def cycle(self) -> int:
        """Messages of one publisher until all its topics are open."""
        return self.topics * self.run if self.topics > 1 else 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does.

    Args:
        name: of its service instances, with their numbers.
        publishers: numbers of those that it has.
        readers: the same.
        reads: the only lane that its readers read; everything by default.
        topics: of each publisher.
        run: messages that follow one another on one topic.
    """

    name: str
    publishers: tuple[int, ...] = ()
    readers: tuple[int, ...] = ()
    reads: int | None = None
    topics: int = 1
    run: int = RUN


def parts_of(shape: Shape) -> tuple[list[Part], list[Part]]:
    """Those that publish, and those that read."""
    publish = [
        Part("p", publishers=numbers, topics=shape.topics, run=shape.run) for numbers in _shares(shape.publishers)
    ]
    return publish, [Part("r", readers=numbers) for numbers in _shares(shape.readers)]


def _shares(number: int) -> Iterator[tuple[int, ...]]:
    processes = min(number, PROCESSES)
    for first in range(processes):
        yield tuple(range(first, number, processes))


def places(publisher: int, part: Part, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The lane of each message of a publisher, and its number there, from 0 and without holes.

    Args:
        publisher: its number.
        part: that it belongs to.
        start: number of the first message among all that it publishes.
        stop: number of the one after the last.
    """
    topics, run = part.topics, part.run
    first = publisher * topics
    if topics == 1:
        for number in range(start, stop):
            yield first, number
        return
    for number in range(start, stop):
        turn, lane = divmod(number // run, topics)
        yield first + lane, turn * run + number % run


class Places:
    """Whether every message of a reader is in its place: the one after the last of its lane."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self.wrong = 0
        """Messages that were not."""

    def take(self, lane: int, number: int) -> None:
        """One has come."""
        following = self._next
        if following.get(lane, 0) != number:
            self.wrong += 1
        following[lane] = number + 1


class DisorderError(MyceliumError):
    """Messages were lost, came twice or out of order: nothing is said of such a run.

    Args:
        name: what was measured.
        sent: messages, times readers.
        received: messages, of all readers.
        wrong: those that were not in their place.
    """

    def __init__(self, name: str, sent: int, received: int, wrong: int) -> None:
        super().__init__(f"{name}: {received:,} of {sent:,} messages came, {wrong:,} of them not in their place")
        self.name = name
        self.sent = sent
        self.received = received
        self.wrong = wrong
