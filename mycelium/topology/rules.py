"""What the values of a topology must keep among one another, without the spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from mycelium.topology.model import Broker, Mode, Topology

Location: TypeAlias = tuple[str | int, ...]

MAX_IPC_PATH = 107
"""Bytes: what an address of a socket in the file system has room for on Linux, without its end."""


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
    for service in topology.delivery:
        if service not in topology.placed:
            message = f"is no service that a bundle has; those are {', '.join(topology.placed)}"
            yield Broken(("delivery", service), message)


def _sockets(topology: Topology) -> Iterator[Broken]:
    values = topology.inter_bundle
    if values.transport != "ipc":
        message = "mode 'bundled' is for one host; choose 'ipc' here, or mode 'distributed'"
        yield Broken(("inter_bundle", "transport"), message, values.transport)
    longest = max((values.socket_dir / f"{bundle.name}.frames" for bundle in topology.bundles), key=_bytes)
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
