"""What a process tells of itself on the bus, once a second, for whoever watches: ``mycelium top`` and the dashboard.

The figures are those of ``/metrics``, with the same names. A watcher keeps the last two messages of each process: what
lies between them are its rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mycelium.core.message import Message, Part
from mycelium.observe.figures import Figures, Labels
from mycelium.observe.latency import LatencyHistogram

SECONDS = 1.0
"""Between two messages of a process."""


class Row(Part, frozen=True):
    """One figure.

    Args:
        labels: their values, in the order of the family's names.
        value: the figure.
    """

    labels: tuple[str, ...]
    value: float


class HistogramRow(Part, frozen=True):
    """One histogram of durations.

    Args:
        labels: their values, in the order of the family's names.
        maximum: the longest duration, ns.
        buckets: those of :class:`~mycelium.observe.latency.LatencyHistogram` that are not empty, with their counts.
    """

    labels: tuple[str, ...]
    maximum: int
    buckets: dict[int, int]


class FamilyPart(Part, frozen=True):
    """All figures of one name.

    Args:
        name: as at ``/metrics``, without ``_total``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: their names.
        rows: the figures.
        histograms: those of kind ``histogram``.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    histograms: tuple[HistogramRow, ...] = ()


class ProcessStatistics(Message, type_id=65282, topic="_sys.stats.{process}"):
    """One process at one moment.

    Args:
        process: the name of its bundle, ``broker``, or ``monolith``.
        epoch: when it started, ns since the Unix epoch. Counters begin with 0 then.
        time: when this was said, ns since the Unix epoch.
        version: of the program.
        families: its figures.
    """

    process: str
    epoch: int
    time: int
    version: str
    families: tuple[FamilyPart, ...]


def statistics_of(process: str, epoch: int, time: int, version: str, figures: Figures) -> ProcessStatistics:
    """The message that says these figures.

    Args:
        process, epoch, time, version: as in :class:`ProcessStatistics`.
        figures: what the process tells of itself.
    """
    families = tuple(
        FamilyPart(
            name=family.name,
            kind=family.kind.value,
            labels=family.names,
            rows=tuple(Row(labels, value) for labels, value in family.values().items()),
            histograms=tuple(
                HistogramRow(labels, histogram.maximum, dict(histogram.buckets))
                for labels, histogram in family.histograms.items()
            ),
        )
        for family in figures.families.values()
    )
    return ProcessStatistics(process, epoch, time, version, families)


class Snapshot:
    """The figures of one message, to look things up in.

    Args:
        said: the message.
    """

    def __init__(self, said: ProcessStatistics) -> None:
        self.process: str = said.process
        self.epoch: int = said.epoch
        self.time: int = said.time
        self.version: str = said.version
        self._families = {family.name: family for family in said.families}

    def rows(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All figures of a name, each with its labels. Nothing if there is no such figure."""
        family = self._families.get(name)
        if family is not None:
            for row in family.rows:
                yield dict(zip(family.labels, row.labels, strict=False)), row.value

    def values(self, name: str, *by: str) -> dict[Labels, float]:
        """The figures of a name, added up by some of their labels.

        Args:
            name: of the family.
            by: names of labels. Without any, the only key is ``()``.
        """
        found: dict[Labels, float] = {}
        for labels, value in self.rows(name):
            key = tuple(labels.get(one, "") for one in by)
            found[key] = found.get(key, 0.0) + value
        return found

    def value(self, name: str, **labels: str) -> float:
        """The figures of a name with these labels, whatever their others are, added up; 0 if there is none."""
        return sum(value for found, value in self.rows(name) if labels.items() <= found.items())

    def histograms(self, name: str, *by: str) -> dict[Labels, LatencyHistogram]:
        """The histograms of a name, added up by some of their labels, as :meth:`values`."""
        family = self._families.get(name)
        found: dict[Labels, LatencyHistogram] = {}
        for row in family.histograms if family is not None else ():
            labels = dict(zip(family.labels, row.labels, strict=False))  # type: ignore[union-attr]
            key = tuple(labels.get(one, "") for one in by)
            found.setdefault(key, LatencyHistogram()).add(LatencyHistogram.of(row.buckets, row.maximum))
        return found


@dataclass(frozen=True)
class Change:
    """What lies between two messages of one process.

    Args:
        before: the earlier one; None if there is only one, and there are no rates yet.
        now: the later one.
    """

    before: Snapshot | None
    now: Snapshot

    @property
    def seconds(self) -> float:
        """Between the two; 0 if there is only one."""
        return 0.0 if self.before is None else (self.now.time - self.before.time) / 1e9

    def rates(self, name: str, *by: str) -> dict[Labels, float]:
        """How fast counters rise, per second, added up by some of their labels. Nothing before there are two."""
        if self.before is None or self.seconds <= 0:
            return {}
        before = self.before.values(name, *by)
        return {
            key: max(0.0, value - before.get(key, 0.0)) / self.seconds
            for key, value in self.now.values(name, *by).items()
        }

    def latencies(self, name: str, *by: str) -> dict[Labels, LatencyHistogram]:
        """What histograms have counted between the two; everything so far if there is only one."""
        before: Mapping[Labels, LatencyHistogram] = {}
        if self.before is not None:
            before = self.before.histograms(name, *by)
        return {
            key: histogram.since(before[key]) if key in before else histogram
            for key, histogram in self.now.histograms(name, *by).items()
        }


class Watch:
    """The last two messages of every process.

    Args:
        gone_ns: a process that has said nothing for so long is gone.
    """

    def __init__(self, gone_ns: int = 3_000_000_000) -> None:
        self.gone_ns = gone_ns
        self._changes: dict[str, Change] = {}
        self._heard: dict[str, int] = {}

    def take(self, said: ProcessStatistics, heard: int) -> None:
        """A process has told its figures.

        Args:
            said: the message. One that is not newer than the last is left aside.
            heard: when it was received, ns, by the clock of the watcher.
        """
        known = self._changes.get(said.process)
        now = Snapshot(said)
        if known is not None and now.epoch == known.now.epoch:
            if now.time <= known.now.time:
                return
            self._changes[said.process] = Change(known.now, now)
        elif known is None or now.epoch > known.now.epoch:
            self._changes[said.process] = Change(None, now)
        else:
            return
        self._heard[said.process] = heard

    def changes(self) -> Mapping[str, Change]:
        """By the name of the process; those that are gone, too."""
        return self._changes

    def is_gone(self, process: str, now: int) -> bool:
        """Whether a process has not been heard of for too long, or never."""
        heard = self._heard.get(process)
        return heard is None or now - heard > self.gone_ns

    def gone(self, now: int) -> Iterable[str]:
        """Processes that were there and have not been heard of for too long."""
        return [process for process in self._changes if self.is_gone(process, now)]
