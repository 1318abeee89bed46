"""What one command has measured, as programs read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.scaling.growth import Growth
from benchmarks.scaling.load import UnderLoad
from benchmarks.scaling.measure import Side
from benchmarks.scaling.memory import Sample
from mycelium.bench.machine import Machine


@dataclass(frozen=True, slots=True)
class Results:
    """All of it; what was not asked for is empty.

    Args:
        machine: where.
        rounds: whose median the figures of growth are.
        growth: by family.
        memory: of the process in the middle over time, by side.
        load: by path and side.
    """

    machine: Machine
    rounds: int
    growth: Sequence[Growth] = ()
    memory: Mapping[Side, Sequence[Sample]] = field(default_factory=dict)
    load: Mapping[str, Mapping[Side, UnderLoad]] = field(default_factory=dict)


def as_json(results: Results) -> dict[str, Any]:
    """For programs."""
    return {
        "machine": asdict(results.machine),
        "rounds": results.rounds,
        "growth": {growth.family.name: _growth(growth) for growth in results.growth},
        "memory": {side: [asdict(sample) for sample in samples] for side, samples in results.memory.items()},
        "load": {path: {side: asdict(one) for side, one in sides.items()} for path, sides in results.load.items()},
    }


def _growth(growth: Growth) -> dict[str, Any]:
    return {
        str(size): {
            **{
                side: {
                    **asdict(figure),
                    "rate_kept": growth.kept_rate(size, side),
                    "per_core_kept": growth.kept(size, side),
                }
                for side, figure in sides.items()
            },
            "holds": growth.holds(size),
        }
        for size, sides in growth.figures.items()
    }
