"""The access list that follows from ``system.yaml``: every service may publish and read what it declares, no more."""

from __future__ import annotations

from collections.abc import Iterable

from mycelium.core.access import Access, Entry, Rights
from mycelium.core.errors import Problem
from mycelium.core.message import contract_of
from mycelium.core.topics import Pattern, TopicTemplate
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service.dead_letters import DeadLetter
from mycelium.spec.model import SubscriptionSpec, SystemSpec

FABRIC = {contract.__name__: contract_of(contract) for contract in (DeadLetter, ProcessStatistics)}
"""Contracts of the fabric itself. Nobody declares that it publishes them, and any service may subscribe.

Every service may publish the statistics of its process, whatever that is called, and one with handlers its own dead
letters.
"""


def access_of(spec: SystemSpec) -> Access:
    """Who may do what. The spec must have passed :func:`mycelium.spec.check.check_spec`, or be as good."""
    rights = {
        name: Rights(
            publishes=(
                *(_contract(spec, contract) for contract in service.publishes),
                *((_dead_letters(name),) if service.subscribes else ()),
                _contract(spec, ProcessStatistics.__name__),
            ),
            subscribes=_read(spec, service.subscribes),
        )
        for name, service in spec.services.items()
    }
    rights |= {
        name: Rights(subscribes=_read(spec, operator.subscribes), is_operator="books" in operator.asks)
        for name, operator in spec.operators.items()
    }
    return Access(rights)


def entries_of(spec: SystemSpec) -> dict[str, Entry]:
    """What travels where, by the name of the contract; those of the fabric itself too."""
    return {name: _contract(spec, name) for name in (*spec.contracts, *FABRIC)}


def check_access(spec: SystemSpec, file: str) -> list[Problem]:
    """Subscriptions that a broker cannot keep apart from what is not for their readers."""
    contracts = entries_of(spec)
    names = {entry.type_id: name for name, entry in contracts.items()}
    return [
        Problem(
            file,
            f"{'services' if name in spec.services else 'operators'}.{name}.subscribes",
            f"is filtered by the prefix {entry.pattern.prefix.decode()!r}, with which {names[other.type_id]} on "
            f"{other.pattern.text} would come too, and that is not for it; put what differs before the first wildcard, "
            "or subscribe to both",
            f"{names[entry.type_id]} on {entry.pattern.text}",
        )
        for name, entry, other in access_of(spec).leaks(contracts.values())
    ]


def _read(spec: SystemSpec, subscribes: Iterable[SubscriptionSpec]) -> tuple[Entry, ...]:
    found = []
    for wanted in subscribes:
        entry = _contract(spec, wanted.contract)
        pattern = entry.pattern if wanted.pattern is None else Pattern.parse(wanted.pattern)
        # Of two that both must match the narrower one, since its prefix is what a reader subscribes with.
        found.append(entry if pattern.covers(entry.pattern) else Entry(entry.type_id, pattern))
    return tuple(found)


def _contract(spec: SystemSpec, name: str) -> Entry:
    of_fabric = FABRIC.get(name)
    if of_fabric is not None:
        return Entry(of_fabric.type_id, of_fabric.topic.pattern)
    contract = spec.contracts[name]
    return Entry(contract.type_id, TopicTemplate.parse(contract.topic).pattern)


def _dead_letters(service: str) -> Entry:
    """What a service with handlers may always publish: those of its own."""
    contract = FABRIC[DeadLetter.__name__]
    topics = contract.topic.text.replace("{service}", service).replace("{handler}", "*")
    return Entry(contract.type_id, Pattern.parse(topics))
