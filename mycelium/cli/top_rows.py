"""From what processes say to the tables of ``mycelium top``. Functions of values: nothing here waits or draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mycelium.cli.top_tables import Alarm, Column, Kind, Row, Table, text
from mycelium.core.ledger import Cause
from mycelium.observe.health import HealthState
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import Change, Snapshot
from mycelium.spec.access import FABRIC
from mycelium.spec.model import SystemSpec
from mycelium.topology.model import BROKER

Changes = Mapping[str, Change]
"""What processes say that are there, by their names."""

PUBLISHED, DELIVERED, DROPPED = (
    "mycelium_published_messages", "mycelium_delivered_messages", "mycelium_dropped_messages",
)  # fmt: skip
LATENCY, READY = "mycelium_delivery_latency_seconds", "mycelium_ready"

_LOST = (Cause.LOST, Cause.EXPIRED)
_AT_WORK = (HealthState.READY, HealthState.RUNNING)
_PARTS_OF_A_BROKER = (BROKER, "journal")

PROCESSES = (
    Column("process", "process"), Column("state", "state"), Column("version", "version", keep=6),
    Column("published_per_s", "out/s", Kind.RATE, keep=1), Column("delivered_per_s", "in/s", Kind.RATE, keep=1),
    Column("p50_s", "p50", Kind.SECONDS, keep=4), Column("p99_s", "p99", Kind.SECONDS, keep=3),
    Column("cpu_percent", "cpu", Kind.PERCENT, keep=2), Column("restarts", "restarts", Kind.COUNT, keep=5),
)  # fmt: skip
SERVICES = (
    Column("service", "service"), Column("health", "health"), Column("ready", "ready"),
    Column("process", "process", keep=3), Column("handled_per_s", "handled/s", Kind.RATE, keep=1),
    Column("retried", "retried", Kind.COUNT, keep=4), Column("dead_letters", "dead letters", Kind.COUNT, keep=2),
)  # fmt: skip
STREAMS = (
    Column("contract", "contract"), Column("service", "service"), Column("published_per_s", "rate/s", Kind.RATE),
    Column("published", "published", Kind.COUNT, keep=1), Column("unread", "unread", Kind.COUNT, keep=2),
    Column("process", "process", keep=3),
)  # fmt: skip
SUBSCRIPTIONS = (
    Column("subscription", "subscription"), Column("delivered_per_s", "rate/s", Kind.RATE),
    Column("p50_s", "p50", Kind.SECONDS, keep=5), Column("p99_s", "p99", Kind.SECONDS, keep=3),
    Column("lag", "lag", Kind.COUNT, keep=1), Column("dropped", "drops", Kind.COUNT, keep=2),
    Column("dead_letters", "dead", Kind.COUNT, keep=4), Column("lost", "lost", Kind.COUNT, keep=6),
    Column("queue", "queue", keep=7), Column("process", "process", keep=8),
)  # fmt: skip
LEDGER = (
    Column("process", "process"), Column("missing", "missing", Kind.MISSING),
    Column("unconfirmed", "unconfirmed", Kind.COUNT, keep=1), Column("refused", "refused", Kind.COUNT, keep=2),
    Column("frames_refused", "bad frames", Kind.COUNT, keep=3),
)  # fmt: skip
DRIFT = (Column("who", "who"), Column("what", "what differs from system.yaml"))
STORE = (Column("figure", "figure"), Column("value", "value"))


def processes(changes: Changes, gone: Changes, absent: Iterable[str], restarts: Mapping[str, int]) -> Table:
    """All processes; first those that are gone, and those that should be there and have never been heard of."""
    rows = []
    for name, change in sorted({**gone, **changes}.items()):
        is_gone, number = name in gone, restarts.get(name, 0)
        if is_gone:
            figures: tuple[float | None, ...] = (None,) * 5
        else:
            (out, into), latency = _traffic(change), _all(change.latencies(LATENCY))
            cpu = change.rates("process_cpu_seconds").get(())
            figures = (out, into, *_quantiles(latency), None if cpu is None else 100 * cpu)
        values = (name, "✗ GONE" if is_gone else "up", change.now.version, *figures, number)
        rows.append(Row((name,), values, Alarm.BAD if is_gone else Alarm.NONE))
    rows += [Row((name,), (name, "✗ SILENT", *(None,) * 7), Alarm.BAD) for name in sorted(absent)]
    rows.sort(key=lambda row: row.alarm is Alarm.NONE)
    return Table("processes", PROCESSES, tuple(rows), "nobody has said anything yet")


def _traffic(change: Change) -> tuple[float | None, float | None]:
    """Messages a second that go out and that come in. None before there are two sayings."""
    if change.before is None:
        return None, None
    if change.now.process == BROKER:
        rates = change.rates("mycelium_broker_messages", "result")
        return None, sum(rate for (result,), rate in rates.items() if result != "duplicate")
    return sum(change.rates(PUBLISHED).values()), sum(change.rates(DELIVERED).values())


def services(changes: Changes) -> Table:
    """All services that somebody hosts."""
    rows = []
    for process, change in changes.items():
        now = change.now
        health = {labels["service"]: labels["state"] for labels, value in now.rows("mycelium_health") if value}
        ready = {part: bool(value) for (part,), value in now.values(READY, "part").items()}
        handled = change.rates("mycelium_handled_messages", "service")
        for name in ready if process != BROKER else ():
            state = health.get(name, HealthState.CREATED)
            letters = now.value("mycelium_dead_letters", service=name)
            values = (
                name, state, _ready(state, is_ready=ready[name]), process, handled.get((name,)),
                now.value("mycelium_retried_calls", service=name), letters,
            )  # fmt: skip
            alarm = Alarm.WARNING if letters or not ready[name] else Alarm.NONE
            rows.append(Row((name, process), values, Alarm.BAD if state == HealthState.FAILED else alarm))
    return Table("services", SERVICES, tuple(sorted(rows, key=lambda row: row.key)), "nobody hosts one")


def _ready(state: str, *, is_ready: bool) -> str:
    if is_ready:
        return "ready"
    return "✗ waits for what it needs" if state in _AT_WORK else f"✗ {state}"


def streams(changes: Changes) -> Table:
    """What is published, by contract and service."""
    rows = []
    for process, change in changes.items():
        rates = change.rates(PUBLISHED, "contract", "service")
        unread = change.now.values("mycelium_unread_messages", "contract", "service")
        for key, published in change.now.values(PUBLISHED, "contract", "service").items():
            values = (*key, rates.get(key), published, unread.get(key, 0.0), process)
            rows.append(Row((*key, process), values))
    return Table("streams", STREAMS, tuple(sorted(rows, key=lambda row: row.key)), "nobody publishes")


def subscriptions(changes: Changes) -> Table:
    """What is read."""
    rows = []
    for process, change in changes.items():
        now = change.now
        rates, latencies = change.rates(DELIVERED, "subscription"), change.latencies(LATENCY, "subscription")
        dropped = now.values(DROPPED, "subscription", "cause")
        lags = now.values("mycelium_waiting_messages", "subscription")
        for key in sorted({*now.values(DELIVERED, "subscription"), *latencies, *lags}):
            (name,) = key
            causes = {cause: number for (one, cause), number in dropped.items() if one == name}
            letters = causes.pop(Cause.HANDLER, 0.0)
            lost = sum(causes.pop(cause, 0.0) for cause in _LOST)
            drops = sum(causes.values())
            values = (
                name, rates.get(key), *_quantiles(latencies.get(key)), lags.get(key, 0.0), drops, letters, lost,
                _queue(now, name), process,
            )  # fmt: skip
            rows.append(Row((name, process), values, Alarm.WARNING if drops or letters or lost else Alarm.NONE))
    return Table("subscriptions", SUBSCRIPTIONS, tuple(sorted(rows, key=lambda row: row.key)), "nobody reads")


def _queue(now: Snapshot, subscription: str) -> str | None:
    """How full the mailbox of a handler is: one of its own, or that which its service has for all others."""
    capacities = now.values("mycelium_queue_capacity_messages", "mailbox")
    for mailbox in (subscription, subscription.partition(".")[0]):
        if (mailbox,) in capacities:
            queued = now.value("mycelium_queued_messages", mailbox=mailbox)
            return f"{queued:,.0f}/{capacities[mailbox,]:,.0f}"
    return None


def ledger(changes: Changes) -> Table:
    """What the books of processes cannot account for. The broker's are with :func:`store`."""
    rows = []
    for process, change in sorted(changes.items()):
        if process == BROKER:
            continue
        now = change.now
        missing, refused = now.value("mycelium_ledger_missing_messages"), now.value("mycelium_refused_messages")
        frames = now.value("mycelium_frames_refused")
        values = (process, missing, now.value("mycelium_unconfirmed_messages"), refused, frames)
        alarm = Alarm.BAD if missing else Alarm.WARNING if refused or frames else Alarm.NONE
        rows.append(Row((process,), values, alarm))
    return Table("ledger", LEDGER, tuple(rows))


def store(change: Change) -> Table:
    """The broker, figure by figure."""
    now = change.now
    stored, most = (now.value(f"mycelium_journal_{one}_bytes") for one in ("stored", "max"))
    full, ready = now.value("mycelium_journal_full"), now.value(READY, part="journal")
    found: list[tuple[str, float | str, Kind, Alarm]] = [
        ("journal", "✗ full: publishers wait" if full else "at work" if ready else "✗ failed", Kind.TEXT,
         Alarm.NONE if ready and not full else Alarm.BAD),
        ("journal, stored", stored, Kind.BYTES, Alarm.NONE),
        ("journal, at most", most, Kind.BYTES, Alarm.NONE),
        ("messages kept", now.value("mycelium_journal_messages"), Kind.COUNT, Alarm.NONE),
        ("frames unconfirmed", now.value("mycelium_broker_unconfirmed_frames"), Kind.COUNT, Alarm.NONE),
        ("repairs answered", now.value("mycelium_broker_repairs"), Kind.COUNT, Alarm.NONE),
        ("repairs waiting", now.value("mycelium_broker_repairs_waiting"), Kind.COUNT, Alarm.NONE),
        ("processes there", now.value("mycelium_broker_clients"), Kind.COUNT, Alarm.NONE),
    ]  # fmt: skip
    for (cause,), number in sorted(now.values("mycelium_broker_refused", "cause").items()):
        found.append((f"refused: {cause}", number, Kind.COUNT, Alarm.WARNING if number else Alarm.NONE))
    for (reader,), lag in sorted(now.values("mycelium_reader_lag_messages", "reader").items()):
        found.append((f"lag of {reader}", lag, Kind.COUNT, Alarm.NONE))
    rows = tuple(Row((name,), (name, text(value, kind)), alarm) for name, value, kind, alarm in found)
    return Table(BROKER, STORE, rows)


def drift(changes: Changes, spec: SystemSpec, placed: tuple[str, ...]) -> Table:
    """What of the running system is not as ``system.yaml`` and the topology say."""
    found = sorted({*_hosting(changes, spec, placed), *_publishing(changes, spec)})
    return Table("drift", DRIFT, tuple(Row(one, one, Alarm.WARNING) for one in found), "as system.yaml says")


def _hosting(changes: Changes, spec: SystemSpec, placed: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    hosted = {part for change in changes.values() for (part,) in change.now.values(READY, "part")}
    hosted -= set(_PARTS_OF_A_BROKER)
    for name in placed:
        if name not in hosted:
            yield name, "✗ no process hosts it"
    for name in hosted - set(spec.services):
        yield name, "✗ is hosted, and no service of system.yaml"


def _publishing(changes: Changes, spec: SystemSpec) -> Iterator[tuple[str, str]]:
    for change in changes.values():
        for contract, name in change.now.values(PUBLISHED, "contract", "service"):
            service = spec.services.get(name)
            if contract not in spec.contracts and contract not in FABRIC:
                yield name, f"✗ publishes {contract}, which is no contract of system.yaml"
            elif service is not None and contract in spec.contracts and contract not in service.publishes:
                yield name, f"✗ publishes {contract}, which system.yaml does not let it"


def _all(latencies: Mapping[tuple[str, ...], LatencyHistogram]) -> LatencyHistogram:
    return latencies.get((), LatencyHistogram())


def _quantiles(latency: LatencyHistogram | None) -> tuple[float | None, float | None]:
    """The median and the 99th percentile, s; None if there is nothing to take them of."""
    if latency is None or not latency.count:
        return None, None
    return latency.quantile(0.5) / 1e9, latency.quantile(0.99) / 1e9
