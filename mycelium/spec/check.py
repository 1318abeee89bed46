"""Holds code and topologies to the spec. Every finding names both sides.

The checks are functions from values to problems; reading files and importing code is done elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from mycelium.core.errors import Problem, TopicError
from mycelium.core.message import Contract
from mycelium.core.topics import Pattern, TopicTemplate
from mycelium.service.declarations import handlers_of
from mycelium.spec.access import FABRIC, check_access
from mycelium.spec.code import SystemCode
from mycelium.spec.model import ContractSpec, ServiceSpec, SubscriptionSpec, SystemSpec
from mycelium.topology.load import LoadedTopology


def check_spec(spec: SystemSpec, code: SystemCode, file: str) -> list[Problem]:
    """Spec against itself and against the code."""
    return [
        *code.problems,
        *_check_type_ids(spec, file),
        *_check_counted(spec, file),
        *(problem for name in spec.contracts for problem in _check_contract(spec, code, name, file)),
        *(problem for name in spec.services for problem in _check_service(spec, code, name, file)),
        *(problem for name in spec.operators for problem in _check_operator(spec, name, file)),
        *_check_wiring(spec, file),
    ]


def _check_type_ids(spec: SystemSpec, file: str) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for name, contract in spec.contracts.items():
        owner = owners.setdefault(contract.type_id, name)
        if owner != name:
            yield Problem(
                file, f"contracts.{name}.type_id", f"is {owner}'s already; each contract has its own", contract.type_id
            )


def _check_counted(spec: SystemSpec, file: str) -> Iterator[Problem]:
    for figure, names in spec.counted.items():
        for name in names:
            if name not in spec.contracts:
                yield Problem(file, f"counted.{figure}", _no_contract(spec), name)


def _check_contract(spec: SystemSpec, code: SystemCode, name: str, file: str) -> Iterator[Problem]:
    said = spec.contracts[name]
    actual = code.contracts.get(name)
    if actual is None:
        return  # import_code has said why
    key = f"contracts.{name}"
    where = _class_name(actual)
    if actual.name != name:
        yield Problem(file, key, f"the class is called {actual.name}; a contract has the name of its class", name)
    if actual.type_id != said.type_id:
        yield Problem(file, f"{key}.type_id", f"{where} says type_id={actual.type_id}", said.type_id)
    if actual.topic.text != said.topic:
        yield Problem(file, f"{key}.topic", f"{where} says topic={actual.topic.text!r}", said.topic)
    yield from _check_fields(said, actual, f"{key}.fields", where, file)


def _check_fields(said: ContractSpec, actual: Contract, key: str, where: str, file: str) -> Iterator[Problem]:
    in_code = {field.name: str(field) for field in actual.fields}
    for name, text in said.fields.items():
        if name not in in_code:
            yield Problem(file, f"{key}.{name}", f"{where} has no such field; it has {', '.join(in_code)}", text)
        elif in_code[name] != text:
            yield Problem(file, f"{key}.{name}", f"{where} says {name}: {in_code[name]}", text)
    for name, text in in_code.items():
        if name not in said.fields:
            yield Problem(file, f"{key}.{name}", f"is missing here; {where} has {name}: {text}")
    if set(in_code) == set(said.fields) and list(in_code) != list(said.fields):
        yield Problem(
            file, key, f"the order is part of the wire format: {where} has {', '.join(in_code)}", ", ".join(said.fields)
        )


def _check_service(spec: SystemSpec, code: SystemCode, name: str, file: str) -> Iterator[Problem]:
    said = spec.services[name]
    key = f"services.{name}"
    for contract in (*said.publishes, *(entry.contract for entry in said.subscribes)):
        if contract not in spec.contracts and contract not in FABRIC:
            yield Problem(file, key, _no_contract(spec), contract)
    for dependency in said.depends_on:
        if dependency not in spec.services:
            yield Problem(
                file,
                f"{key}.depends_on",
                f"is no service of this spec; those are {', '.join(spec.services)}",
                dependency,
            )
    yield from _check_topics_apart(spec, said, key, file)
    service_type = code.services.get(name)
    if service_type is None:
        return  # import_code has said why
    where = f"{service_type.__module__}.{service_type.__name__}"
    if service_type.name != name:
        yield Problem(file, key, f"{where} says name={service_type.name!r}", name)
    yield from _differences(
        set(said.publishes),
        {kind.__name__ for kind in service_type.publishes},
        f"{key}.publishes",
        f"{where} declares in publishes",
        file,
    )
    yield from _differences(
        _subscriptions_in_spec(spec, said),
        {
            _subscription(declared.message_type.__name__, declared.pattern or _default(declared.message_type))
            for declared in handlers_of(service_type)
        },
        f"{key}.subscribes",
        f"{where} declares with @handles",
        file,
    )


def _check_operator(spec: SystemSpec, name: str, file: str) -> Iterator[Problem]:
    for entry in spec.operators[name].subscribes:
        if entry.contract not in spec.contracts and entry.contract not in FABRIC:
            yield Problem(file, f"operators.{name}.subscribes", _no_contract(spec), entry.contract)
    yield from _check_patterns(spec, spec.operators[name].subscribes, f"operators.{name}.subscribes", file)


def _check_topics_apart(spec: SystemSpec, said: ServiceSpec, key: str, file: str) -> Iterator[Problem]:
    """A topic of one publisher carries one contract: its messages have one numbering."""
    templates = [
        (contract, TopicTemplate.parse(spec.contracts[contract].topic))
        for contract in said.publishes
        if contract in spec.contracts
    ]
    for (first, one), (second, other) in itertools.combinations(templates, 2):
        if one.pattern.overlaps(other.pattern):
            yield Problem(
                file,
                f"{key}.publishes",
                f"{first} on {one.text} and {second} on {other.text} can meet on one topic; "
                "a topic of one publisher carries one contract, so give them topics that differ in a fixed segment",
            )


def _default(message_type: type) -> str:
    contract = vars(message_type).get("__contract__")
    return contract.topic.pattern.text if isinstance(contract, Contract) else ">"


def _subscriptions_in_spec(spec: SystemSpec, service: ServiceSpec) -> set[str]:
    found = set()
    for entry in service.subscribes:
        topic = _topic_of(spec, entry.contract)
        if topic is not None:
            found.add(_subscription(entry.contract, entry.pattern or TopicTemplate.parse(topic).pattern.text))
    return found


def _topic_of(spec: SystemSpec, contract: str) -> str | None:
    if contract in spec.contracts:
        return spec.contracts[contract].topic
    return FABRIC[contract].topic.text if contract in FABRIC else None


def _subscription(contract: str, pattern: str) -> str:
    return f"{contract} on {pattern}"


def _differences(said: set[str], actual: set[str], key: str, where: str, file: str) -> Iterator[Problem]:
    for name in sorted(actual - said):
        yield Problem(file, key, f"does not have {name}, which {where}")
    for name in sorted(said - actual):
        yield Problem(
            file, key, f"has {name}, which is not among what {where}: {', '.join(sorted(actual)) or 'nothing'}"
        )


def _check_wiring(spec: SystemSpec, file: str) -> Iterator[Problem]:
    """Every contract has a writer and a reader; every subscription some topic that is written."""
    written = {name for service in spec.services.values() for name in service.publishes}
    read = {entry.contract for service in spec.services.values() for entry in service.subscribes}
    for name in spec.contracts:
        if name not in written:
            yield Problem(file, f"contracts.{name}", "no service publishes it")
        if name not in read:
            yield Problem(file, f"contracts.{name}", "no service subscribes to it")
    for service_name, service in spec.services.items():
        yield from _check_patterns(spec, service.subscribes, f"services.{service_name}.subscribes", file)


def _check_patterns(spec: SystemSpec, subscribes: Iterable[SubscriptionSpec], key: str, file: str) -> Iterator[Problem]:
    for entry in subscribes:
        topic = _topic_of(spec, entry.contract)
        if entry.pattern is None or topic is None:
            continue
        try:
            pattern = Pattern.parse(entry.pattern)
        except TopicError as error:
            yield Problem(file, key, str(error))
            continue
        if not pattern.overlaps(TopicTemplate.parse(topic).pattern):
            yield Problem(file, key, f"matches no topic of {entry.contract}, which travels on {topic}", entry.pattern)


def check_topology(spec: SystemSpec, topology: LoadedTopology) -> list[Problem]:
    """A topology against the spec: every service placed, none unknown, settings for services only.

    With keys also that the broker can keep apart what the spec does.
    """
    with_keys = topology.values.security.keys is not None
    return [
        *_check_placement(spec, topology),
        *_check_settings_keys(spec, topology),
        *(check_access(spec, str(topology.spec_path)) if with_keys else ()),
    ]


def _check_placement(spec: SystemSpec, topology: LoadedTopology) -> Iterator[Problem]:
    """Every service of the spec is placed, and no other. (That none is placed twice, the topology itself sees to.)"""
    spec_file = topology.spec_path.name
    placed = topology.values.placed
    for index, bundle in enumerate(topology.values.bundles):
        for service in bundle.services:
            if service not in spec.services:
                yield Problem(
                    topology.origin("bundles", index, "services"),
                    f"bundles.{index}.services",
                    f"is no service of {spec_file}; those are {', '.join(spec.services)}",
                    service,
                )
    for service in spec.services:
        if service not in placed:
            yield Problem(
                topology.origin("bundles"),
                "bundles",
                f"places no {service}, which {spec_file} has; name it in one bundle",
            )


def _check_settings_keys(spec: SystemSpec, topology: LoadedTopology) -> Iterator[Problem]:
    for name in topology.values.services:
        if name not in spec.services:
            yield Problem(
                topology.origin("services", name, *topology.values.services[name]),
                f"services.{name}",
                f"is no service of {topology.spec_path.name}; those are {', '.join(spec.services)}",
            )


def topologies_beside(spec_path: Path) -> list[Path]:
    """The topology files that belong to a spec: ``config/*.toml`` beside it."""
    return sorted((spec_path.parent / "config").glob("*.toml"))


def _no_contract(spec: SystemSpec) -> str:
    return f"is no contract of this spec; those are {', '.join(spec.contracts)}"


def _class_name(contract: Contract) -> str:
    return f"{contract.message_type.__module__}.{contract.name}"
