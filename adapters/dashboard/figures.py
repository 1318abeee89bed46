"""Reads what is shown out of the figures of processes. Their names are those of ``/metrics``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from mycelium.observe.health import HealthState
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import Change, Snapshot

_LATENCY = "mycelium_delivery_latency_seconds"
_HANDLED = "mycelium_handled_messages"
_PUBLISHED = "mycelium_published_messages"


def parts_of(said: Snapshot) -> dict[str, bool]:
    """The services of a process, or what a broker consists of, and whether each is ready."""
    return {labels.get("part", ""): value > 0 for labels, value in said.rows("mycelium_ready")}


def is_ready(said: Snapshot, service: str) -> bool:
    """Whether a service is at work."""
    return parts_of(said).get(service, False)


def state_of(said: Snapshot, service: str) -> str:
    """Where in its life a service is."""
    for labels, value in said.rows("mycelium_health"):
        if value > 0 and labels.get("service") == service:
            return labels.get("state", "")
    return HealthState.CREATED.value


def latency_of(change: Change) -> dict[str, Any]:
    """What a process handles, and how long it took to come there."""
    rates = change.rates(_HANDLED)
    return {"rate": rates.get(()), **_quantiles(change.latencies(_LATENCY).values())}


def service_of(change: Change, service: str) -> dict[str, Any]:
    """The figures of one service."""
    subscriptions = {
        key: histogram
        for key, histogram in change.latencies(_LATENCY, "subscription").items()
        if key[0].split(".", 1)[0] == service
    }
    now = change.now
    mailboxes = now.values("mycelium_queued_messages", "mailbox").items()
    return {
        "rate": change.rates(_HANDLED, "service").get((service,)),
        "published_rate": change.rates(_PUBLISHED, "service").get((service,)),
        **_quantiles(subscriptions.values()),
        "queued": int(sum(value for (name,), value in mailboxes if name.split(".", 1)[0] == service)),
        "retried": int(now.value("mycelium_retried_calls", service=service)),
        "dead_letters": int(now.value("mycelium_dead_letters", service=service)),
    }


def flow_of(changes: Iterable[Change]) -> dict[str, Any]:
    """What all processes that are there do together."""
    there = list(changes)
    published = [rate for change in there for rate in change.rates(_PUBLISHED).values()]
    handled = [rate for change in there for rate in change.rates(_HANDLED).values()]
    histograms = [histogram for change in there for histogram in change.latencies(_LATENCY).values()]
    return {
        "published_rate": sum(published) if published else None,
        "rate": sum(handled) if handled else None,
        **_quantiles(histograms),
    }


def books_of(changes: Collection[Change]) -> dict[str, Any]:
    """What is lost, set aside or refused, and why. What a process that is gone has told last counts too."""
    said = [change.now for change in changes]
    dropped: dict[str, int] = {}
    _add(dropped, said, "mycelium_dropped_messages", "dropped")
    refused: dict[str, int] = {}
    for name, what in (
        ("mycelium_frames_refused", "frame"),
        ("mycelium_refused_messages", "message, by the broker"),
        ("mycelium_broker_refused", "at the broker"),
        ("mycelium_intake_refused", "read from outside"),
    ):
        _add(refused, said, name, what)
    return {
        "told": len(said),
        "missing": int(sum(one.value("mycelium_ledger_missing_messages") for one in said)),
        "dropped_total": sum(dropped.values()),
        "dropped": _sorted(dropped),
        "refused": _sorted(refused),
        "dead_letters": int(sum(one.value("mycelium_dead_letters") for one in said)),
        "unconfirmed": int(sum(one.value("mycelium_unconfirmed_messages") for one in said)),
    }


def store_of(process: str, said: Snapshot) -> dict[str, Any] | None:
    """The store of a process, such as the broker's; None if it has told of none."""
    if not any(True for _ in said.rows("mycelium_journal_stored_bytes")):
        return None
    lags = said.values("mycelium_reader_lag_messages", "reader")
    return {
        "process": process,
        "stored_bytes": int(said.value("mycelium_journal_stored_bytes")),
        "max_bytes": int(said.value("mycelium_journal_max_bytes")),
        "messages": int(said.value("mycelium_journal_messages")),
        "is_full": said.value("mycelium_journal_full") > 0,
        "unconfirmed_frames": int(said.value("mycelium_broker_unconfirmed_frames")),
        "lags": [{"reader": reader, "messages": int(value)} for (reader,), value in sorted(lags.items())],
    }


def _add(found: dict[str, int], said: Iterable[Snapshot], name: str, what: str) -> None:
    for one in said:
        for (cause,), value in one.values(name, "cause").items():
            if value > 0:
                key = f"{what}: {cause}"
                found[key] = found.get(key, 0) + int(value)


def _sorted(causes: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"cause": cause, "number": number}
        for cause, number in sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    ]


def _quantiles(histograms: Iterable[LatencyHistogram]) -> dict[str, float | None]:
    """Half of the durations, and 99 % of them, do not exceed these, µs; nothing if there were none."""
    merged = LatencyHistogram()
    for histogram in histograms:
        merged.add(histogram)
    if not merged.count:
        return {"p50_us": None, "p99_us": None}
    return {"p50_us": merged.quantile(0.5) / 1e3, "p99_us": merged.quantile(0.99) / 1e3}
