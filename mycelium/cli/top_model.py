"""What ``mycelium top`` knows, and what of it there is to show. Nothing here draws, and nothing waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mycelium.cli import top_rows
from mycelium.cli.top_tables import Alarm, Kind, Table, text, worst
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import ProcessStatistics, Watch
from mycelium.spec.model import SystemSpec
from mycelium.topology.model import BROKER

GONE_NS = 3_000_000_000
"""How long a process may say nothing before it is gone: three messages."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything at one moment.

    Args:
        headline: in short, part by part.
        tables: by their names, in their order.
    """

    headline: tuple[tuple[str, Alarm], ...]
    tables: dict[str, Table]


@dataclass(frozen=True, slots=True)
class Detail:
    """One figure of what was selected.

    Args:
        figure: its name, as at ``/metrics``.
        labels: what else it is about.
        value: as it is shown.
    """

    figure: str
    labels: str
    value: str


class Model:
    """Takes what processes say.

    Args:
        spec: what the system is.
        placed: the services that should run.
        processes: those that should.
        began: since when it listens, ns, by the clock of :meth:`take`.
    """

    def __init__(self, spec: SystemSpec, placed: Sequence[str], processes: Sequence[str], began: int = 0) -> None:
        self._spec = spec
        self._placed = tuple(placed)
        self._began = began
        self._expected = frozenset(processes)
        self._watch = Watch(GONE_NS)
        self._restarts: dict[str, int] = {}
        self._said: dict[str, ProcessStatistics] = {}

    def take(self, said: ProcessStatistics, heard: int) -> None:
        """A process has said something.

        Args:
            said: what.
            heard: when, ns, by any clock that never goes back.
        """
        known = self._watch.changes().get(said.process)
        if known is not None and said.epoch > known.now.epoch:
            self._restarts[said.process] = self._restarts.get(said.process, 0) + 1
        self._watch.take(said, heard)
        if self._watch.changes()[said.process].now.time == said.time:
            self._said[said.process] = said

    @property
    def has_heard(self) -> bool:
        """Whether any process has said anything."""
        return bool(self._watch.changes())

    @property
    def has_rates(self) -> bool:
        """Whether every process that should run has said something twice."""
        changes = self._watch.changes()
        return self._expected <= {name for name, change in changes.items() if change.before is not None}

    def picture(self, now: int) -> Picture:
        """What there is to show.

        Args:
            now: ns, by the clock of :meth:`take`.
        """
        changes = self._watch.changes()
        gone = {name: changes[name] for name in self._watch.gone(now)}
        there = {name: change for name, change in sorted(changes.items()) if name not in gone}
        # Who has not said anything yet may be about to.
        is_early = now - self._began < GONE_NS and not self.has_rates
        placed = () if is_early else self._placed
        absent = frozenset[str]() if is_early else self._expected - set(changes)
        tables = [
            top_rows.processes(there, gone, absent, self._restarts),
            top_rows.services(there),
            top_rows.streams(there),
            top_rows.subscriptions(there),
            *([top_rows.store(there[BROKER])] if BROKER in there else []),
            top_rows.ledger(there),
            top_rows.drift(there, self._spec, placed),
        ]
        by_name = {table.name: table for table in tables}
        return Picture(self._headline(there, len(gone) + len(absent), by_name), by_name)

    def _headline(self, there: top_rows.Changes, away: int, tables: dict[str, Table]) -> tuple[tuple[str, Alarm], ...]:
        rate = sum(sum(change.rates(top_rows.PUBLISHED).values()) for change in there.values())
        missing = sum(change.now.value("mycelium_ledger_missing_messages") for change in there.values())
        unready = sum(
            not value for change in there.values() for value in change.now.values(top_rows.READY, "part").values()
        )
        differs = len(tables["drift"].rows)
        parts = [(f"{len(there)} up", Alarm.NONE)]
        if away:
            parts.append((f"✗ {away} away", Alarm.BAD))
        if unready:
            parts.append((f"✗ {unready} not ready", Alarm.WARNING))
        parts.append((f"{text(rate, Kind.RATE)} msg/s", Alarm.NONE))
        parts.append((f"✗ {missing:,.0f} missing", Alarm.BAD) if missing else ("ledger balances", Alarm.NONE))
        if worst(row.alarm for row in tables[BROKER].rows) is Alarm.BAD if BROKER in tables else False:
            parts.append(("✗ journal", Alarm.BAD))
        if differs:
            parts.append((f"✗ {differs} drift", Alarm.WARNING))
        return tuple(parts)

    # --- one row -----------------------------------------------------------------------------

    def details(self, table: str, key: tuple[str, ...]) -> list[Detail]:
        """Everything that is known of what a row is about.

        Args:
            table: the name of its table.
            key: of the row.
        """
        if table in ("processes", "ledger", BROKER):
            process = BROKER if table == BROKER else key[0]
            return list(self._figures(process, None))
        if table == "drift":
            return [one for process in self._said for one in self._figures(process, key[0])]
        return list(self._figures(key[-1], key[1] if table == "streams" else key[0]))

    def _figures(self, process: str, about: str | None) -> Iterator[Detail]:
        """The figures of a process whose labels name something, or one of its parts; all of them for None."""
        if process not in self._said:
            return
        change = self._watch.changes()[process]
        for family in sorted(self._said[process].families, key=lambda family: family.name):
            rates = change.rates(family.name, *family.labels) if family.kind == "counter" else {}
            for row in family.rows:
                if _is_about(row.labels, about):
                    shown, rate = text(float(row.value), Kind.TEXT), rates.get(row.labels)
                    if rate is not None:
                        shown += f"  ({text(rate, Kind.RATE)}/s)"
                    yield Detail(family.name, _labels(family.labels, row.labels), shown)
            latencies = change.latencies(family.name, *family.labels) if family.histograms else {}
            for labels, latency in latencies.items():
                if _is_about(labels, about):
                    yield Detail(family.name, _labels(family.labels, labels), _distribution(latency))


def _distribution(latency: LatencyHistogram) -> str:
    quantiles = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    shown = (f"{name} {text(latency.quantile(part) / 1e9, Kind.SECONDS)}" for name, part in quantiles)
    return f"{latency.count:,} lately: {', '.join(shown)}"


def _is_about(values: tuple[str, ...], about: str | None) -> bool:
    if about is None:
        return True
    service = about.partition(".")[0]
    return any(value in (about, service) or value.startswith(f"{about}.") for value in values)


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={text(value, Kind.TEXT)}" for name, value in zip(names, values, strict=False) if value)
