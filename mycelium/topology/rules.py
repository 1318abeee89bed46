"""What the values of a topology must keep among one another, without the spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from mycelium.topology.hosts import is_loopback
from mycelium.topology.model import BROKER, Broker, Mode, Topology
from mycelium.transport.addresses import MAX_IPC_PATH

Location: TypeAlias = tuple[str | int, ...]


class Broken(NamedTuple):
    """A rule that is broken."""

    location: Location
    """The key at which it can be put right."""
    message: str
    value: object = None


def broken_rules(topology: Topology) -> Iterator[Broken]:
    """What is wrong, in the order of the file."""
    mode = topology.deployment.mode
    if mode is Mode.BUNDLED:
        yield from _sockets(topology)
    if mode is Mode.DISTRIBUTED and topology.broker is None:
        yield Broken(("broker",), "is missing; mode 'distributed' needs it to say where the broker is")
    if topology.broker is not None:
        yield from _ports(topology.broker)
        yield from _security(topology, topology.broker)
    yield from _http_processes(topology)
    yield from _http_ports(topology)
    for service in topology.delivery:
        if service not in topology.placed:
            message = f"is no service that a bundle has; those are {', '.join(topology.placed)}"
            yield Broken(("delivery", service), message)


def _security(topology: Topology, broker: Broker) -> Iterator[Broken]:
    keys, insecure = topology.security.keys, topology.security.insecure
    if keys is not None and insecure:
        yield Broken(
            ("security", "insecure"), "and security.keys contradict each other; leave one of them out", value=True
        )
    if keys is None and broker.limits.messages_per_second is not None:
        message = "needs security.keys: without keys nobody knows who publishes"
        yield Broken(("broker", "limits", "messages_per_second"), message, broker.limits.messages_per_second)
    if topology.deployment.mode is Mode.DISTRIBUTED and keys is None and not insecure and not is_loopback(broker.host):
        message = (
            f"is missing, and broker.host = {broker.host!r} is beyond this host: everybody who reaches it could read "
            "and publish. Make keys with `mycelium keys init` and name their directory here, or say insecure = true"
        )
        yield Broken(("security", "keys"), message)


def _sockets(topology: Topology) -> Iterator[Broken]:
    values = topology.inter_bundle
    if values.transport != "ipc":
        message = "mode 'bundled' is for one host; choose 'ipc' here, or mode 'distributed'"
        yield Broken(("inter_bundle", "transport"), message, values.transport)
    longest = max((values.socket_dir / f"{bundle.name}.control" for bundle in topology.bundles), key=_bytes)
    if _bytes(longest) > MAX_IPC_PATH:
        message = f"is too long: {longest} has {_bytes(longest)} bytes, an ipc path has at most {MAX_IPC_PATH}"
        yield Broken(("inter_bundle", "socket_dir"), message, str(values.socket_dir))


def _bytes(path: os.PathLike[str]) -> int:
    return len(os.fsencode(path))


def _ports(broker: Broker) -> Iterator[Broken]:
    owners: dict[int, str] = {}
    for key in ("publish_port", "frames_port", "control_port"):
        port: int = getattr(broker, key)
        owner = owners.setdefault(port, key)
        if owner != key:
            yield Broken(("broker", key), f"is broker.{owner}'s already; each has a port of its own", port)


def _http_processes(topology: Topology) -> Iterator[Broken]:
    """Who is given a port."""
    http = topology.http
    known = [bundle.name for bundle in topology.bundles]
    if topology.broker is not None:
        if BROKER in http.ports and BROKER in known:
            message = (
                f"is the name of a bundle and of the broker's process; call the bundle something else than {BROKER!r}"
            )
            yield Broken(("http", "ports", BROKER), message, http.ports[BROKER])
        known.append(BROKER)
    for name, port in http.ports.items():
        if name not in known:
            yield Broken(("http", "ports", name), f"is of no process; those are {', '.join(known)}", port)
    if topology.deployment.mode is Mode.MONOLITH and http.ports and http.port is None:
        message = "is missing; mode 'monolith' has one process, to which this applies, and http.ports does not"
        yield Broken(("http", "port"), message)


def _http_ports(topology: Topology) -> Iterator[Broken]:
    """Processes that would want the same port of one host."""
    http, mode = topology.http, topology.deployment.mode
    owners: dict[int, str] = {}
    for name, port in http.ports.items():
        owner = owners.setdefault(port, name)
        if owner != name:
            message = f"is http.ports.{owner}'s already; on hosts of their own all can have http.port"
            yield Broken(("http", "ports", name), message, port)
    if mode is Mode.BUNDLED and http.port is not None:
        same = [bundle.name for bundle in topology.bundles if http.port_of(bundle.name) == http.port]
        if len(same) > 1:
            message = f"would be the port of {' and '.join(same)} on one host; give each its own in http.ports"
            yield Broken(("http", "port"), message, http.port)
    if mode is Mode.DISTRIBUTED and topology.broker is not None:
        location = ("http", "ports", BROKER) if BROKER in http.ports else ("http", "port")
        wanted = http.port_of(BROKER)
        for key in ("publish_port", "frames_port", "control_port"):
            if wanted == getattr(topology.broker, key):
                yield Broken(location, f"is broker.{key} already; the broker needs another one here", wanted)
