"""Runs the services of one process: start, wire, run, drain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from mycelium.bus.bus import Bus
from mycelium.bus.subscriber import SubscriberStatistics
from mycelium.core.clock import Clock
from mycelium.core.errors import ConfigError, ServiceError
from mycelium.core.ledger import Ledger
from mycelium.core.message import Message
from mycelium.observe.exemplars import Exemplars
from mycelium.observe.health import Health, HealthState
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import ProcessStatistics
from mycelium.observe.tracing import Tracer
from mycelium.service.dead_letters import DeadLetter
from mycelium.service.declarations import handlers_of
from mycelium.service.runner import ServiceRunner
from mycelium.service.service import Progress, Service, ServiceContext
from mycelium.service.telling import Telling
from mycelium.transport.addresses import Fabric
from mycelium.transport.exchange import Network
from mycelium.transport.remote import PLAIN, Reading

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("host")

_AT_WORK = (HealthState.READY, HealthState.RUNNING)


@dataclass(frozen=True)
class Placement:
    """A service to host.

    Args:
        service_type: its class.
        settings: validated.
        reading: how its handlers read from stores, but for those that may drop messages.
    """

    service_type: type[Service[Any]]
    settings: Any
    reading: Reading = PLAIN


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Args:
        ledger: the books, closed.
        health: every service at the end.
        waiting: from publish to a handler's start, over all services, ns.
        seconds: from ready to drained.
        drained: whether every message was handled in time.
    """

    ledger: Ledger
    health: tuple[Health, ...]
    waiting: LatencyHistogram
    seconds: float
    drained: bool

    @property
    def failed(self) -> tuple[Health, ...]:
        """The services that failed."""
        return tuple(health for health in self.health if health.state is HealthState.FAILED)


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A host at one moment.

    Args:
        ledger: its books.
        health: every service.
        parts: the services that it is to run, each with why it is not ready; None if it is.
        queues: what waits for handlers, by the name of the mailbox.
        waiting: from publish to a handler's start, ns, by the handler's name in the ledger.
        services: what services say of themselves, by their name.
        exemplars: traced messages for ``waiting``, by the same names.
    """

    ledger: Ledger
    health: tuple[Health, ...]
    parts: Mapping[str, str | None]
    queues: Mapping[str, SubscriberStatistics]
    waiting: Mapping[str, LatencyHistogram]
    services: Mapping[str, object]
    exemplars: Mapping[str, Exemplars] = field(default_factory=dict)


class Host:
    """Runs services in this event loop until their work is done or :meth:`drain` is called.

    Args:
        placements: the services, in any order.
        clock: handed to everything.
        drain_seconds: how long draining may take before what is left is dropped, counted.
        fabric: how other processes are reached; None if there are none.
        readers: handlers of services elsewhere that read what is published here: their names in the ledger. The
            services run when these have joined, or have not in time.
        report: takes the services' progress.
        tracer: traces what happens to messages; None if nothing is traced.
        telling: says what this process does, to others or to a service here that handles it; None to say nothing.
    """

    def __init__(
        self,
        placements: Sequence[Placement],
        *,
        clock: Clock,
        drain_seconds: float = 10.0,
        fabric: Fabric | None = None,
        readers: frozenset[str] = frozenset(),
        report: Callable[[Progress], None] = lambda _progress: None,
        tracer: Tracer | None = None,
        telling: Telling | None = None,
    ) -> None:
        self._tracer = tracer
        self._placements = in_flow_order(placements)
        self._clock = clock
        self.drain_seconds: float = drain_seconds
        self._report = report
        self._ready_seconds = fabric.ready_seconds if fabric is not None else 0.0
        self._readers = readers
        self._network = Network(fabric=fabric, time_ns=clock.time_ns, tracing=tracer)
        self._telling = telling if fabric is not None or _is_heard(placements) else None
        self._stopping = asyncio.Event()
        self._runners: list[ServiceRunner] = []

    def drain(self) -> None:
        """Ask the host to drain and end. May be called again, and from a signal handler of the event loop."""
        self._stopping.set()

    def renew_keys(self) -> None:
        """Show other keys to the broker from now on, where there are others.

        Raises:
            ConfigError: they cannot be read.
        """
        self._network.renew_keys()

    def health(self) -> tuple[Health, ...]:
        """Where every service is in its life."""
        return tuple(runner.health() for runner in self._runners)

    def unready(self) -> Mapping[str, str]:
        """The services that are not at work, and where in their life they are, or what they wait for."""
        states = {health.service: health.state for health in self.health()}
        names = (placement.service_type.name for placement in self._placements)
        found = {name: states.get(name, HealthState.CREATED) for name in names}
        unready: dict[str, str] = {name: state for name, state in found.items() if state not in _AT_WORK}
        for runner in self._runners:
            waits_for = runner.service.waits_for
            if waits_for is not None:
                unready.setdefault(runner.service.name, f"waits for {waits_for}")
        return unready

    def statistics(self) -> HostStatistics:
        """What it has done so far, and its services."""
        unready = self.unready()
        own = {runner.service.name: runner.own_statistics() for runner in self._runners}
        return HostStatistics(
            ledger=self.ledger(),
            health=self.health(),
            parts={placed.service_type.name: unready.get(placed.service_type.name) for placed in self._placements},
            queues={mailbox.name: mailbox.statistics() for runner in self._runners for mailbox in runner.mailboxes},
            waiting={name: histogram for runner in self._runners for name, histogram in runner.waiting.items()},
            exemplars={name: some for runner in self._runners for name, some in runner.exemplars.items()},
            services={name: figures for name, figures in own.items() if figures is not None},
        )

    def ledger(self) -> Ledger:
        """The books now."""
        intakes = tuple(intake.entry() for runner in self._runners for intake in runner.service.intakes)
        return self._network.ledger() + Ledger(intakes=intakes)

    async def run(self) -> Outcome:
        """Run the services to their end.

        Raises:
            ConfigError: a service found in its ``start`` that what a person wrote is wrong.
            ServiceError: it raised anything else there. Those started before it are stopped.
        """
        async with AsyncExitStack() as buses:
            for placement in self._placements:
                bus = Bus(placement.service_type.name, network=self._network, clock=self._clock)
                context = ServiceContext(
                    await buses.enter_async_context(bus), self._stopping, self._report, self._tracer
                )
                service = placement.service_type(placement.settings, context)
                self._runners.append(ServiceRunner(service, self.drain, placement.reading, self._tracer))
            try:
                for runner in self._runners:
                    await _start(runner)
                async with AsyncExitStack() as telling:
                    if self._telling is not None:
                        # Before it is wired: one that waits for others is worth looking at too.
                        bus = self._runners[0].service.bus
                        await telling.enter_async_context(self._telling.publishing(bus))
                    await self._wire()
                    log.info("ready", services=[runner.service.name for runner in self._runners])
                    began = self._clock.time_ns()
                    await self._work()
                    drained = await self._drain()
                    ended = self._clock.time_ns()
            finally:
                for runner in self._runners:
                    await runner.close()
        waiting = LatencyHistogram()
        for runner in self._runners:
            for histogram in runner.waiting.values():
                waiting.add(histogram)
        return Outcome(self.ledger(), self.health(), waiting, (ended - began) / 1e9, drained)

    async def _wire(self) -> None:
        """Attach every subscription of these services, and wait for those of others that read what they publish."""
        async with asyncio.TaskGroup() as wiring:
            for runner in self._runners:
                wiring.create_task(runner.wire())
        if self._readers:
            late = await self._runners[0].service.bus.readers_there(self._readers, self._ready_seconds)
            if late:
                log.warning(
                    "readers have not joined; they will miss what is published before they do",
                    readers=sorted(late),
                    seconds=self._ready_seconds,
                )

    async def _work(self) -> None:
        """Until every ``run`` has returned; without one, until the host is told to drain."""
        runs = [
            asyncio.create_task(runner.run(), name=f"run {runner.service.name}")
            for runner in self._runners
            if runner.service.has_run()
        ]
        for runner in self._runners:
            if not runner.service.has_run():
                runner.state = HealthState.RUNNING
        stopping = asyncio.create_task(self._stopping.wait(), name="wait for drain")
        try:
            if runs:
                await self._until_done(runs, stopping)
            else:
                await stopping
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _until_done(self, runs: list[asyncio.Task[None]], stopping: asyncio.Task[Any]) -> None:
        pending = set(runs)
        while pending and not stopping.done():
            _, pending = await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            pending.discard(stopping)
        if pending:
            await self._let_finish(list(pending))
        await asyncio.gather(*runs, return_exceptions=True)

    async def _let_finish(self, runs: list[asyncio.Task[None]]) -> None:
        """Give every ``run`` half the drain time to stop where it is right, then cancel it."""
        log.info("draining", seconds=self.drain_seconds)
        _, late = await asyncio.wait(runs, timeout=self.drain_seconds / 2)
        for task in late:
            log.warning("did not stop by itself and is cancelled", task=task.get_name())
            task.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _drain(self) -> bool:
        """Let the services handle what there is, publishers before their readers. False if time ran out."""
        try:
            async with asyncio.timeout(self.drain_seconds):
                for runner in self._runners:
                    await runner.drain()
        except TimeoutError:
            queued = sum(entry.queued for entry in self._network.ledger().routes)
            log.error("draining took too long, the rest is dropped", seconds=self.drain_seconds, queued=queued)
            return False
        return True


def _is_heard(placements: Sequence[Placement]) -> bool:
    """Whether one of these services handles what processes say of themselves."""
    return any(
        declared.message_type is ProcessStatistics
        for placement in placements
        for declared in handlers_of(placement.service_type)
    )


async def _start(runner: ServiceRunner) -> None:
    try:
        await runner.start()
    except ConfigError:
        raise
    except Exception as error:
        raise ServiceError(runner.service.name, "start", error) from error


def in_flow_order(placements: Sequence[Placement]) -> list[Placement]:
    """Publishers before their readers, so that draining in this order loses nothing. Circles stay as given."""
    readers: dict[type[Message], list[Placement]] = {}
    for placement in placements:
        for declared in handlers_of(placement.service_type):
            readers.setdefault(declared.message_type, []).append(placement)
    ordered: list[Placement] = []
    seen: set[int] = set()

    def visit(placement: Placement) -> None:
        if id(placement) in seen:
            return
        seen.add(id(placement))
        # Whoever handles messages may have to give one up, and then publishes a dead letter.
        letters = (DeadLetter,) if handlers_of(placement.service_type) else ()
        for message_type in (*placement.service_type.publishes, *letters):
            for reader in readers.get(message_type, []):
                visit(reader)
        ordered.append(placement)

    for placement in reversed(placements):
        visit(placement)
    return ordered[::-1]


def summary_of(outcome: Outcome, counted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The figures of a run as ``mycelium run --summary`` writes them.

    Args:
        outcome: how the run ended.
        counted: what a figure counts, by its name: contract names. Without an entry, ``events`` counts
            everything published and ``signals`` nothing.
    """
    ledger, published = outcome.ledger, outcome.ledger.published
    figures = {"events": sum(published.values()), "signals": 0}
    figures |= {name: sum(published.get(contract, 0) for contract in counted[name]) for name in counted}
    return {
        **figures,
        "published": dict(published),
        "seconds": round(outcome.seconds, 6),
        "rate_per_s": round(figures["events"] / outcome.seconds, 1) if outcome.seconds > 0 else 0.0,
        "latency_us": {
            name: round(outcome.waiting.quantile(fraction) / 1000, 1)
            for name, fraction in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
        },
        "drained": outcome.drained,
        "ledger": {
            "balanced": ledger.balanced,
            "published": sum(published.values()),
            "delivered": sum(route.delivered for route in ledger.routes),
            "dropped": dict(ledger.dropped),
            "frames_refused": dict(ledger.frames_refused),
            "unread": sum(stream.unread for stream in ledger.streams),
            "queued": sum(route.queued for route in ledger.routes),
            "unconfirmed": ledger.unconfirmed,
            "refused": dict(ledger.refused),
            "subscriptions": {name: asdict(totals) for name, totals in ledger.subscriptions.items()},
            "intake": {
                f"{entry.service}.{entry.name}": {
                    "read": entry.read,
                    "accepted": entry.accepted,
                    "ignored": dict(entry.ignored),
                    "refused": dict(entry.refused),
                }
                for entry in ledger.intakes
            },
        },
        "services": {health.service: {"state": health.state, "handled": health.handled} for health in outcome.health},
    }
