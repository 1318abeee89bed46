"""From a topology to addresses and journals: how the processes of a system reach one another."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from mycelium.cli.security import credentials_by_name
from mycelium.cli.system import System
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import ConfigError, Problem
from mycelium.core.message import Message
from mycelium.core.policy import Delivery
from mycelium.core.topics import Pattern
from mycelium.journal import Journal, LmdbJournal, MemoryJournal, Retention, TopicRetention
from mycelium.journal.outbox import Outbox
from mycelium.service.declarations import handlers_of
from mycelium.topology.load import LoadedTopology
from mycelium.topology.model import Broker, Bundle, Mode
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.remote import PLAIN, Reading

SECOND_NS = 1_000_000_000


def bundle_address(topology: LoadedTopology, bundle: Bundle) -> StoreAddress:
    """Where a bundle's store is, in mode bundled."""
    base = f"ipc://{topology.values.inter_bundle.socket_dir}/{bundle.name}"
    return StoreAddress(bundle.name, f"{base}.frames", f"{base}.control")


def broker_address(broker: Broker, host: str | None = None) -> StoreAddress:
    """Where the broker is, or where it is to bind."""
    frames, control, publish = (
        f"tcp://{host or broker.host}:{port}" for port in (broker.frames_port, broker.control_port, broker.publish_port)
    )
    return StoreAddress("broker", frames, control, publish)


def stores(topology: LoadedTopology) -> tuple[StoreAddress, ...]:
    """All stores of a system; none in a monolith."""
    values = topology.values
    if values.deployment.mode is Mode.BUNDLED:
        return tuple(bundle_address(topology, bundle) for bundle in values.bundles)
    if values.deployment.mode is Mode.DISTRIBUTED and values.broker is not None:
        return (broker_address(values.broker),)
    return ()


def asked_stores(topology: LoadedTopology) -> tuple[StoreAddress, ...]:
    """The stores of a running system, to ask them something.

    Raises:
        ConfigError: it has none.
    """
    found = stores(topology)
    if not found:
        message = "runs in one process, where there is no store to ask; 'bundled' and 'distributed' have some"
        mode = str(topology.values.deployment.mode.value)
        raise ConfigError([Problem(topology.origin("deployment", "mode"), "deployment.mode", message, mode)])
    return found


def state_directory(topology: LoadedTopology) -> Path:
    """Where journals and outboxes are."""
    return topology.directory / topology.values.deployment.state_dir


def fabric_of(system: System, services: list[str]) -> Fabric | None:
    """How the process that hosts some services reaches the others; None in a monolith."""
    topology, values = system.topology, system.topology.values
    mode = values.deployment.mode
    if mode is Mode.MONOLITH:
        return None
    own = None
    journal: partial[Journal] | None = None
    if mode is Mode.BUNDLED:
        bundle = next(bundle for bundle in values.bundles if services[0] in bundle.services)
        own = bundle_address(topology, bundle)
        journal = partial(_bundle_journal, topology, bundle.name)
    return Fabric(
        stores=tuple(store for store in stores(topology) if store != own),
        own=own,
        journal=journal,
        live=frozenset(
            contract.type_id for contract in system.spec.contracts.values() if contract.delivery is Delivery.LIVE
        ),
        outboxes={
            name: partial(Outbox, state_directory(topology) / f"outbox-{name}")
            for name in services
            if name in values.delivery and values.delivery[name].outbox
        },
        names=tuple(system.spec.services),
        ready_seconds=values.deployment.ready_seconds,
        close_seconds=values.deployment.drain_seconds,
        keys=credentials_by_name(topology),
    )


def _bundle_journal(topology: LoadedTopology, bundle: str) -> Journal:
    settings = topology.values.inter_bundle
    if settings.journal == "memory":
        return MemoryJournal(max_bytes=settings.journal_bytes)
    return LmdbJournal(
        state_directory(topology) / f"journal-{bundle}",
        max_bytes=settings.journal_bytes,
        retention=Retention(max_bytes=_kept(settings.journal_bytes)),
    )


def broker_journal(topology: LoadedTopology, broker: Broker) -> Journal:
    """The broker's journal, opened.

    Raises:
        JournalError: it cannot be opened, or is damaged.
    """
    return LmdbJournal(
        state_directory(topology) / "journal-broker",
        durability=broker.durability,
        max_bytes=broker.journal_bytes,
        retention=retention_of(broker),
        sync_interval_ns=broker.sync_interval_ms * 1_000_000,
    )


def retention_of(broker: Broker) -> Retention:
    """How long the broker keeps frames."""
    return Retention(
        max_age_ns=_ns(broker.max_age_seconds),
        max_bytes=_kept(broker.journal_bytes),
        topics=tuple(
            TopicRetention(Pattern.parse(topics.pattern), _ns(topics.max_age_seconds), topics.max_bytes)
            for topics in broker.topics
        ),
    )


def _kept(journal_bytes: int) -> int:
    """How many bytes of frames a journal keeps: the rest is what its tables and free pages take."""
    return journal_bytes * 7 // 10


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND_NS)


def reading_of(topology: LoadedTopology, service: str) -> Reading:
    """How the handlers of a service read from stores."""
    settings = topology.values.delivery.get(service)
    if settings is None:
        return PLAIN
    return Reading(Start(settings.start.value), durable=settings.durable)


def readers_elsewhere(system: System, services: list[str]) -> frozenset[str]:
    """The handlers of services in other processes that read what these publish, as the ledger calls them."""
    published: set[type[Message]] = set()
    for name in services:
        published |= set(system.code.services[name].publishes)
    return readers_of(system, published, services)


def readers_of(system: System, published: Collection[type[Message]], services: Collection[str]) -> frozenset[str]:
    """The handlers of other services than these that read some message classes, as the ledger calls them."""
    return frozenset(
        f"{name}.{declared.method}"
        for name in system.topology.values.placed
        if name not in services and name in system.code.services
        for declared in handlers_of(system.code.services[name])
        if declared.message_type in published
    )
