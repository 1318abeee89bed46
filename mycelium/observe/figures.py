"""Figures of a process by name and labels, as its parts tell them when somebody asks.

Nothing here counts: the parts count anyway, and what they have counted is copied. How many label sets there may be
is bounded, so that a watcher's memory does not grow with what is watched.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mycelium.observe.exemplars import Exemplars
from mycelium.observe.latency import LatencyHistogram

MOST = 200
"""Label sets of one family that are told apart. Chosen by us: handlers of a large process with their causes."""

OTHER = "other"
"""What further ones count as, all together."""

Labels = tuple[str, ...]
"""The values, in the order of the names."""


class Kind(enum.Enum):
    """What may become of a figure."""

    COUNTER = "counter"
    """It rises."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass
class Remembered:
    """What outlives one question: which label sets are told apart, and how far counters were.

    First come, first shown: if the largest were chosen, a series would come and go.
    """

    most: int = MOST
    labels: dict[str, set[Labels]] = field(default_factory=dict)
    counted: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def shown(self, family: str, labels: Labels) -> Labels:
        """These labels, or those of the rest if there are too many."""
        known = self.labels.setdefault(family, set())
        if labels not in known:
            if len(known) >= self.most:
                return (OTHER,) * len(labels)
            known.add(labels)
        return labels

    def risen(self, family: str, labels: Labels, value: float) -> float:
        """The value of a counter, or the one before if that was higher.

        The books take back a few drops when a stream goes to another member of a group. To a watcher a counter that
        falls has begun anew, and all of it has happened since.
        """
        value = max(value, self.counted.get((family, labels), 0.0))
        self.counted[family, labels] = value
        return value


class Family:
    """All figures of one name.

    Args:
        name: begins with ``mycelium_`` and ends with the unit, if it has one; without ``_total``.
        kind: what may become of them.
        text: what it is, for people.
        names: of the labels. One whose value is empty is left out.
        remembered: from question to question.
    """

    def __init__(self, name: str, kind: Kind, text: str, names: Labels, remembered: Remembered) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.names = names
        self._remembered = remembered
        self._values: dict[Labels, float] = {}
        self.histograms: dict[Labels, LatencyHistogram] = {}
        self.exemplars: dict[Labels, Exemplars] = {}

    def add(self, value: float, *labels: str) -> None:
        """Add to the figure with these labels."""
        shown = self._remembered.shown(self.name, labels)
        self._values[shown] = self._values.get(shown, 0) + value

    def merge(self, histogram: LatencyHistogram, *labels: str) -> None:
        """Add to the histogram with these labels. Where it is the only one it is shown as it is, and not copied."""
        shown = self._remembered.shown(self.name, labels)
        known = self.histograms.get(shown)
        if known is not None:
            both = LatencyHistogram()
            both.add(known)
            both.add(histogram)
            histogram = both
        self.histograms[shown] = histogram

    def illustrate(self, exemplars: Exemplars, *labels: str) -> None:
        """Show these with the histogram that has these labels."""
        if exemplars:
            self.exemplars[self._remembered.shown(self.name, labels)] = exemplars

    def values(self) -> dict[Labels, float]:
        """What was added, by labels."""
        if self.kind is not Kind.COUNTER:
            return dict(self._values)
        return {labels: self._remembered.risen(self.name, labels, value) for labels, value in self._values.items()}


class Figures:
    """All families, the answer to one question.

    Args:
        remembered: from question to question.
    """

    def __init__(self, remembered: Remembered | None = None) -> None:
        self._remembered = remembered if remembered is not None else Remembered()
        self.families: dict[str, Family] = {}

    def counter(self, name: str, text: str, *names: str) -> Family:
        """The family of counters of a name, which is shown with ``_total`` behind it. See :class:`Family`."""
        return self._family(name, Kind.COUNTER, text, names)

    def gauge(self, name: str, text: str, *names: str) -> Family:
        """The family of gauges of a name. See :class:`Family`."""
        return self._family(name, Kind.GAUGE, text, names)

    def histogram(self, name: str, text: str, *names: str) -> Family:
        """The family of histograms of a name, of durations. See :class:`Family`."""
        return self._family(name, Kind.HISTOGRAM, text, names)

    def _family(self, name: str, kind: Kind, text: str, names: Labels) -> Family:
        family = self.families.get(name)
        if family is None:
            family = self.families[name] = Family(name, kind, text, names, self._remembered)
        return family
