"""Who takes part."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from benchmarks.peers import servers


@dataclass(frozen=True)
class Peer:
    """A row of the table.

    Args:
        key: what the command line calls it.
        name: what the table does.
        module: with its roles, in this package.
        middle: starts what stands between publisher and reader.
        variant: what its module is told.
        packages: of Python that it needs, as the registry calls them.
        programs: that it needs.
    """

    key: str
    name: str
    module: str
    middle: servers.MakeMiddle
    variant: str = "-"
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """What it needs and is not installed."""
        programs = [name for name in self.programs if servers.program(name) is None]
        return (*(name for name in self.packages if not _is_installed(name)), *programs)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


FLOOR = Peer("raw", "pyzmq, raw bytes", "raw_peer", servers.proxy, "bytes")
MANY = Peer("many", "Mycelium, in batches", "mycelium_peer", servers.mycelium_broker, "many")
ONE = Peer("one", "Mycelium, one by one", "mycelium_peer", servers.mycelium_broker, "one")

_ZENOH = ("eclipse-zenoh",)
_REDIS = ("redis", "hiredis")
_FASTSTREAM = ("faststream", "nats-py")
_NATS_SERVER = ("nats-server",)
LINEUP = (
    FLOOR,
    Peer("raw-typed", "pyzmq, typed", "raw_peer", servers.proxy, "typed"),
    MANY,
    ONE,
    Peer("zenoh", "zenoh through a router", "zenoh_peer", servers.zenoh_router, "router", _ZENOH),
    Peer("zenoh-direct", "zenoh, peer to peer", "zenoh_peer", servers.zenoh_direct, "direct", _ZENOH),
    Peer("redis", "redis, in pipelines", "redis_peer", servers.redis_server, "-", _REDIS, ("redis-server",)),
    Peer("nats", "nats-py", "nats_peer", servers.nats_server, "-", ("nats-py",), _NATS_SERVER),
    Peer("faststream", "FastStream over NATS", "faststream_peer", servers.nats_server, "-", _FASTSTREAM, _NATS_SERVER),
)
"""All of them, in the order in which they take their turns."""
