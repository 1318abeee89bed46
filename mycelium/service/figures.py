"""The figures of a host and its services."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mycelium.core.ledger import Cause, IntakeEntry, Ledger
from mycelium.observe.figures import Figures
from mycelium.observe.health import Health, HealthState
from mycelium.service.host import HostStatistics

OWN = "mycelium_service_"
"""Before the names of what services say of themselves. Nothing else begins with it."""

_OWN_TEXT = "Said by the services themselves."
_NANOSECONDS = "_ns"


def tell_host(figures: Figures, host: HostStatistics) -> None:
    """Add the figures of a host.

    Args:
        figures: what to add them to.
        host: what it has done so far.
    """
    ready = figures.gauge("mycelium_ready", "Whether a part of this process is at work, as /readyz says.", "part")
    for name, why_not in host.parts.items():
        ready.add(why_not is None, name)
    _tell_health(figures, host.health)
    _tell_ledger(figures, host.ledger)
    queued = figures.gauge("mycelium_queued_messages", "Messages that wait in the mailbox of handlers.", "mailbox")
    capacity = figures.gauge("mycelium_queue_capacity_messages", "Messages that a mailbox holds.", "mailbox")
    for name, queue in host.queues.items():
        queued.add(queue.queued, name)
        capacity.add(queue.capacity, name)
    latency = figures.histogram(
        "mycelium_delivery_latency_seconds", "From publish to the start of the handler.", "subscription"
    )
    for name, histogram in host.waiting.items():
        latency.merge(histogram, name)
    for name, exemplars in host.exemplars.items():
        latency.illustrate(exemplars, name)
    for name, own in host.services.items():
        _tell_own(figures, name, own)


def _tell_health(figures: Figures, health: Iterable[Health]) -> None:
    states = figures.gauge("mycelium_health", "1 for the state that a service is in, 0 for others.", "service", "state")
    handled = figures.counter("mycelium_handled_messages", "Messages that handlers have finished.", "service")
    retried = figures.counter("mycelium_retried_calls", "Calls of handlers that were tried again.", "service")
    letters = figures.counter("mycelium_dead_letters", "Messages that handlers gave up.", "service")
    for one in health:
        for state in HealthState:
            states.add(one.state is state, one.service, state.value)
        handled.add(one.handled, one.service)
        retried.add(one.retried, one.service)
        letters.add(one.dead_letters, one.service)


def _tell_ledger(figures: Figures, ledger: Ledger) -> None:
    published = figures.counter("mycelium_published_messages", "Messages published.", "service", "contract")
    unread = figures.counter(
        "mycelium_unread_messages", "Messages published while nobody in reach subscribed.", "service", "contract"
    )
    for stream in ledger.streams:
        published.add(stream.published, stream.source, stream.type_name)
        unread.add(stream.unread, stream.source, stream.type_name)
    delivered = figures.counter(
        "mycelium_delivered_messages", "Messages handed to a reader, given up afterwards or not.", "subscription"
    )
    dropped = figures.counter("mycelium_dropped_messages", "Messages dropped.", "subscription", "cause")
    behind = figures.gauge(
        "mycelium_waiting_messages", "Messages that wait for a reader, here or in a store.", "subscription"
    )
    for route in ledger.routes:
        # The books move what a handler gives up from one side to the other, and a counter does not fall.
        delivered.add(route.delivered + route.dropped.get(Cause.HANDLER, 0), route.subscription)
        behind.add(route.queued, route.subscription)
        for cause, number in route.dropped.items():
            dropped.add(number, route.subscription, cause)
    figures.gauge(
        "mycelium_ledger_missing_messages", "Messages and things read that the ledger cannot account for."
    ).add(ledger.missing)
    figures.gauge("mycelium_unconfirmed_messages", "Messages that the broker has not confirmed.").add(
        ledger.unconfirmed
    )
    frames = figures.counter("mycelium_frames_refused", "Frames that could not be read.", "cause")
    for cause, number in ledger.frames_refused.items():
        frames.add(number, cause)
    refused = figures.counter("mycelium_refused_messages", "Messages that the broker will not take.", "cause")
    for cause, number in ledger.refused.items():
        refused.add(number, cause)
    _tell_intakes(figures, ledger.intakes)


def _tell_intakes(figures: Figures, intakes: Iterable[IntakeEntry]) -> None:
    accepted = figures.counter("mycelium_intake_accepted", "Things read that became messages.", "service", "intake")
    ignored = figures.counter(
        "mycelium_intake_ignored", "Things read that are for others.", "service", "intake", "cause"
    )
    refused = figures.counter("mycelium_intake_refused", "Bad things read.", "service", "intake", "cause")
    for entry in intakes:
        accepted.add(entry.accepted, entry.service, entry.name)
        for cause, number in entry.ignored.items():
            ignored.add(number, entry.service, entry.name, cause)
        for cause, number in entry.refused.items():
            refused.add(number, entry.service, entry.name, cause)


def _tell_own(figures: Figures, service: str, own: object) -> None:
    for field, name, value in _numbers(own):
        if field.endswith(_NANOSECONDS):
            field, value = f"{field.removesuffix(_NANOSECONDS)}_seconds", value / 1e9
        figures.gauge(OWN + field, _OWN_TEXT, "service", "name").add(value, service, name)


def _numbers(own: object) -> Iterator[tuple[str, str, float]]:
    """The figures in a dataclass: of which field, of what in it, and the figure."""
    for field, value in _fields(own):
        if isinstance(value, int | float):
            yield field, "", value
            continue
        if not isinstance(value, Mapping | tuple):
            continue
        for item in value.items() if isinstance(value, Mapping) else value:
            match item:
                case (str(name), int() | float() as number):
                    yield field, name, number
                case _:
                    for inner, number in _fields(item):
                        if isinstance(number, int | float):
                            yield f"{field}_{inner}", str(getattr(item, "name", "")), number


def _fields(own: object) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(own):
        for field in dataclasses.fields(own):
            yield field.name, getattr(own, field.name)
