"""Has it become slower? ``python -m benchmarks.regression``, target ``make bench-check``.

What ``mycelium bench`` measures, held to ``floors.toml``: rates as a part of the rate of raw ZeroMQ in the same round.
Never times: another machine, or a busy one, changes both sides of a ratio, and a slower fabric only one.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from mycelium.bench.measure import measure
from mycelium.bench.paths import PATHS, Key
from mycelium.core.errors import MyceliumError

FLOORS = Path(__file__).with_name("floors.toml")

SECONDS = 0.25
"""How long each rate is measured, about. Chosen by us: with three rounds all of it ends within 50 seconds."""

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Floor:
    """What is asked of a ratio.

    Args:
        measured: what it was when this was set.
        limit: below this, something has become slower.
    """

    measured: float
    limit: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A rate as a part of another one.

    Args:
        path: whose rate.
        over: whose rate it is divided by.
    """

    path: Key
    over: Key

    def __str__(self) -> str:
        return f"{self.path}/{self.over}"


Floors = Mapping[Ratio, Floor]
Rates = Mapping[Key, float]
"""Messages a second of one round."""


class FloorsError(MyceliumError):
    """The file of floors is not right.

    Args:
        path: of the file.
        reason: what is wrong, with the value.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a ratio.

    Args:
        ratio: which.
        floor: what is asked of it.
        found: its median; None if it was not measured.
    """

    ratio: Ratio
    floor: Floor
    found: float | None

    @property
    def holds(self) -> bool:
        """Whether it was measured, and is not below its limit."""
        return self.found is not None and self.found >= self.floor.limit

    def __str__(self) -> str:
        found = "not measured" if self.found is None else f"{self.found:.2f}"
        word = "ok" if self.holds else "SLOWER" if self.found is not None else "MISSING"
        return f"{word:<8}{self.ratio}: {found}, limit {self.floor.limit:g}, once {self.floor.measured:g}"


def read_floors(path: Path) -> Floors:
    """Read the file.

    Raises:
        FloorsError: it is not right.
    """
    try:
        said = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), dict[str, dict[str, Floor]])
        floors = {_ratio(name): floor for name, floor in said.get("ratios", {}).items()}
    except (OSError, ValueError) as error:  # msgspec's and tomllib's errors are values that are wrong
        raise FloorsError(path, str(error)) from None
    if not floors:
        raise FloorsError(path, 'has no table [ratios."path/floor"]')
    return floors


def _ratio(name: str) -> Ratio:
    path, _, over = name.partition("/")
    return Ratio(Key(path), Key(over))


def judge(floors: Floors, rounds: Iterable[Rates]) -> list[Verdict]:
    """Hold rates to the floors. The median of the rounds counts: one that was disturbed should not.

    Args:
        floors: what is asked.
        rounds: what was measured in each.
    """
    found: dict[Ratio, list[float]] = {ratio: [] for ratio in floors}
    for rates in rounds:
        for ratio, ratios in found.items():
            if ratio.path in rates and ratio.over in rates:
                ratios.append(rates[ratio.path] / rates[ratio.over])
    return [Verdict(ratio, floors[ratio], median(ratios) if ratios else None) for ratio, ratios in found.items()]


def check(floors: Floors, measure_rounds: Callable[[list[Key]], Iterable[Rates]], say: Callable[[str], None]) -> bool:
    """Measure and judge; what is below its limit, once more before it counts: the machine may have had other work.

    Args:
        floors: what is asked.
        measure_rounds: measures these paths in some rounds.
        say: told each verdict.

    Returns:
        Whether all hold.
    """
    verdicts = judge(floors, measure_rounds(_keys(floors)))
    again = {verdict.ratio: verdict.floor for verdict in verdicts if not verdict.holds}
    if again:
        for verdict in verdicts:
            if not verdict.holds:
                say(f"measured once more: {verdict}")
        second = {verdict.ratio: verdict for verdict in judge(again, measure_rounds(_keys(again)))}
        verdicts = [second.get(verdict.ratio, verdict) for verdict in verdicts]
    for verdict in verdicts:
        say(str(verdict))
    return all(verdict.holds for verdict in verdicts)


def _keys(floors: Floors) -> list[Key]:
    """In the order of the paths, so that what is compared is measured within seconds of one another."""
    wanted = {key for ratio in floors for key in (ratio.path, ratio.over)}
    return [key for key in PATHS if key in wanted]


def measured_rounds(keys: list[Key], *, seconds: float, rounds: int) -> list[Rates]:
    """Measure paths, round by round."""
    return [
        {key: figure.msg_per_s for key, figure in report.figures.items()}
        for report in (
            measure(keys, seconds=seconds, rounds=1, begins=lambda _number, _key: None) for _ in range(rounds)
        )
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regression", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each rate, about (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose median counts (default %(default)s)")
    parser.add_argument("--floors", type=Path, default=FLOORS, help=argparse.SUPPRESS)
    parser.add_argument("--only-show", action="store_true", help="fail only if something is lost or does not run")
    options = parser.parse_args()
    try:
        floors = read_floors(options.floors)

        def rounds(keys: list[Key]) -> list[Rates]:
            return measured_rounds(keys, seconds=options.seconds, rounds=options.rounds)

        if options.only_show:
            for verdict in judge(floors, rounds(_keys(floors))):
                print(f"{verdict.ratio}: {verdict.found:.2f}")
            return 0
        return 0 if check(floors, rounds, print) else 1
    except MyceliumError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
