"""What is wired to what, and where it goes in a drawing.

Theory of operation. Layers from left to right: whoever publishes stands before whoever reads. First the processes are
put into layers, then the services inside each process. Circles are cut where they close. Inside a layer, order follows
what stands before, so that few lines cross. There are no coordinates here: a wide page makes columns of the layers and
a narrow one rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mycelium.spec.model import SystemSpec


@dataclass(frozen=True, slots=True)
class Edge:
    """A contract on its way from one service to another."""

    contract: str
    source: str
    target: str


@dataclass(frozen=True)
class Wiring:
    """What a system declares.

    Args:
        system: its name.
        services: by name, each with the contracts that it publishes.
        edges: every contract from every publisher to every reader.
    """

    system: str
    services: Mapping[str, tuple[str, ...]]
    edges: tuple[Edge, ...]


def wiring_of(spec: SystemSpec) -> Wiring:
    """The wiring that a spec declares. What the fabric itself publishes comes from no service and is left out."""
    edges = tuple(
        Edge(contract, source, target)
        for source, publisher in spec.services.items()
        for contract in publisher.publishes
        for target, reader in spec.services.items()
        if any(wanted.contract == contract for wanted in reader.subscribes)
    )
    return Wiring(spec.system, {name: service.publishes for name, service in spec.services.items()}, edges)


@dataclass(frozen=True)
class Group:
    """A process in the drawing.

    Args:
        process: its name; empty for services of which no process has told.
        layers: its services, layer by layer.
    """

    process: str
    layers: tuple[tuple[str, ...], ...]


def arranged(wiring: Wiring, homes: Mapping[str, str]) -> tuple[tuple[Group, ...], ...]:
    """The processes, layer by layer, with their services.

    Args:
        wiring: what is wired to what.
        homes: the process of each service. Those without one stand together in a group without a name, at the end.
    """
    process_of = {service: homes.get(service, "") for service in wiring.services}
    between = [(process_of[edge.source], process_of[edge.target]) for edge in wiring.edges]
    processes = list(dict.fromkeys(home for home in process_of.values() if home))
    columns = layered(processes, [(source, target) for source, target in between if source and target])
    if "" in process_of.values():
        columns.append([""])
    pairs = [(edge.source, edge.target) for edge in wiring.edges]
    return tuple(
        tuple(
            Group(process, tuple(map(tuple, layered([one for one, at in process_of.items() if at == process], pairs))))
            for process in column
        )
        for column in columns
    )


def layered(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The names in layers, so that edges lead to later ones.

    Args:
        names: in an order that is kept where edges do not say otherwise.
        edges: pairs of names; those with another name, or from one to itself, do not matter.
    """
    followers: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        if source in followers and target in followers and source != target and target not in followers[source]:
            followers[source].append(target)
    order = _without_circles(followers)
    depth = dict.fromkeys(order, 0)
    for name in order:
        for follower in followers[name]:
            depth[follower] = max(depth[follower], depth[name] + 1)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    for before, layer in itertools.pairwise(layers):
        places = {name: place for place, name in enumerate(before)}
        middles = {name: _middle([places[one] for one in before if name in followers[one]]) for name in layer}
        layer.sort(key=middles.__getitem__)
    return layers


def _without_circles(followers: dict[str, list[str]]) -> list[str]:
    """All names, each before its followers; an edge that would close a circle is taken out."""
    order: list[str] = []
    state: dict[str, int] = {}

    def visit(name: str) -> None:
        state[name] = 1
        for follower in list(followers[name]):
            if state.get(follower) == 1:
                followers[name].remove(follower)
            elif follower not in state:
                visit(follower)
        state[name] = 2
        order.append(name)

    for name in followers:
        if name not in state:
            visit(name)
    return order[::-1]


def _middle(places: Sequence[int]) -> float:
    return sum(places) / len(places) if places else 0.0
