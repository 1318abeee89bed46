"""What a message costs as readers, publishers or topics become more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.scaling.measure import Figure, Side, measure_shape
from benchmarks.scaling.shapes import Shape

RUN_OF_TOPIC = 64
"""Messages of one topic that follow one another, where it is not one: as many as a block of a chain has of a market."""

SLACK = 0.1
"""A tenth: what is nearer to one another than this differs from one measurement to the next on the same machine."""


@dataclass(frozen=True, slots=True)
class Family:
    """Shapes of which one thing grows.

    Args:
        name: of the family.
        grows: what does.
        shapes: by how many of these there are, the smallest first.
    """

    name: str
    grows: str
    shapes: Mapping[int, Shape]


@dataclass(frozen=True, slots=True)
class Growth:
    """What was measured of a family.

    Args:
        family: it.
        figures: by size and side.
    """

    family: Family
    figures: Mapping[int, Mapping[Side, Figure]]

    def kept(self, size: int, side: Side) -> float:
        """Throughput per core as a part of that of the smallest size: 1 where it has not fallen."""
        smallest = self.figures[min(self.figures)][side]
        cpu = self.figures[size][side].cpu_per_million
        return smallest.cpu_per_million / cpu if cpu else 1.0

    def kept_rate(self, size: int, side: Side) -> float:
        """The rate of messages delivered, in the same way."""
        return self.figures[size][side].delivered_per_s / self.figures[min(self.figures)][side].delivered_per_s

    def holds(self, size: int) -> bool:
        """Whether throughput per core has fallen by no more than that of ZeroMQ alone, but for :data:`SLACK`."""
        return self.kept(size, Side.OURS) >= self.kept(size, Side.FLOOR) * (1 - SLACK)


def families(readers: tuple[int, ...], publishers: tuple[int, ...], topics: tuple[int, ...]) -> list[Family]:
    """All of them, with these sizes."""
    return [
        Family("fan-out", "readers", {size: Shape(readers=size) for size in readers}),
        Family("fan-in", "publishers", {size: Shape(publishers=size) for size in publishers}),
        # A frame carries messages of one topic: going round message by message, frames are small.
        Family("topics", "topics", {size: _of_topics(size, 1) for size in topics}),
        Family(f"topics, {RUN_OF_TOPIC} in a row", "topics", {size: _of_topics(size, RUN_OF_TOPIC) for size in topics}),
    ]


def _of_topics(size: int, run: int) -> Shape:
    return Shape(topics=size, run=run) if size > 1 else Shape()


def measure_growth(
    measured: list[Family], *, seconds: float, rounds: int, begins: Callable[[int, Side, Shape], None]
) -> list[Growth]:
    """Measure families; what is in several of them once. Both sides of a shape follow one another, in every round.

    Args:
        measured: which.
        seconds: how long the run of each shape lasts, about.
        rounds: how often; the median of each figure counts.
        begins: told of each round, from 0, before something is measured.

    Raises:
        DisorderError: messages were lost or out of order.
        RoleError: a process failed.
    """
    shapes = dict.fromkeys(shape for family in measured for shape in family.shapes.values())
    found: dict[Shape, dict[Side, list[Figure]]] = {shape: {side: [] for side in Side} for shape in shapes}
    for number in range(rounds):
        for shape, sides in found.items():
            for side, figures in sides.items():
                begins(number, side, shape)
                figures.append(measure_shape(side, shape, seconds))
    middles = {shape: {side: middle(figures) for side, figures in sides.items()} for shape, sides in found.items()}
    return [Growth(family, {size: middles[shape] for size, shape in family.shapes.items()}) for family in measured]


def middle(figures: list[Figure]) -> Figure:
    """The median of each figure. The median, since a round that was disturbed should not count."""
    return Figure(
        median(one.delivered_per_s for one in figures),
        median(one.cpu_per_million for one in figures),
        median(one.middle_cpu_per_million for one in figures),
    )
