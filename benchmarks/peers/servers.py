"""What stands between publisher and reader: real servers on free loopback ports, started and ended with a measurement.

The settings of the servers are here, and why they are fair; those of their clients are in the peers' modules.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.message import Four
from mycelium.bench.processes import RoleError, RoleProcess
from mycelium.bench.workplace import write_system
from mycelium.transport.ports import free_ports

PATIENCE = 10.0
"""Seconds that a server may take to accept a connection."""

POLL_SECONDS = 0.01

SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian has nats-server; not on every user's path."""

NATS = """host: 127.0.0.1
port: {port}
# By default a reader with 64 MiB outstanding, or that takes nothing for 10 s, is thrown out. We send at full speed.
max_pending: 1073741824
write_deadline: "60s"
"""

REDIS = (
    *("--bind", "127.0.0.1"),
    # By default a subscriber with 32 MiB outstanding is thrown out, as above.
    *("--client-output-buffer-limit", "pubsub 0 0 0"),
    # Published messages are never saved; a snapshot of nothing would only take time.
    *("--save", ""),
    *("--appendonly", "no"),
)


@dataclass(frozen=True)
class Middle:
    """A running server.

    Args:
        arguments: how publisher and reader reach it.
        pids: its processes.
    """

    arguments: tuple[str, ...]
    pids: tuple[int, ...] = ()


MakeMiddle = Callable[[Path], AbstractContextManager[Middle]]
"""Starts it, with its files in this empty directory."""


def program(name: str) -> str | None:
    """Where a server's program is; None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_PATHS)))


@contextlib.contextmanager
def nats_server(directory: Path) -> Iterator[Middle]:
    """A nats-server."""
    (port,) = free_ports(1)
    config = directory / "nats.conf"
    config.write_text(NATS.format(port=port))
    with _listening(("nats-server", "--config", config), port) as pid:
        yield Middle((f"nats://127.0.0.1:{port}",), (pid,))


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[Middle]:
    """A redis-server."""
    (port,) = free_ports(1)
    with _listening(("redis-server", *REDIS, "--dir", directory, "--port", port), port) as pid:
        yield Middle((f"redis://127.0.0.1:{port}",), (pid,))


@contextlib.contextmanager
def proxy(_directory: Path) -> Iterator[Middle]:
    """ZeroMQ's proxy, in a process of ours."""
    addresses = tuple(f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    module = "benchmarks.peers.raw_peer"
    # It waits in C, where it does not see the end of its input.
    with RoleProcess.python(module, "serve", *addresses, name="zmq.proxy", end_signal=signal.SIGTERM) as process:
        yield Middle(addresses, (process.pid,))


@contextlib.contextmanager
def zenoh_router(_directory: Path) -> Iterator[Middle]:
    """A zenoh router, in a process of ours: the code of ``zenohd``, which Debian and PyPI do not have."""
    (port,) = free_ports(1)
    endpoint = f"tcp/127.0.0.1:{port}"
    with RoleProcess.python("benchmarks.peers.zenoh_peer", "serve", endpoint, name="zenoh router") as process:
        yield Middle((endpoint,), (process.pid,))


@contextlib.contextmanager
def zenoh_direct(_directory: Path) -> Iterator[Middle]:
    """Nobody: the reader listens itself."""
    (port,) = free_ports(1)
    yield Middle((f"tcp/127.0.0.1:{port}",))


@contextlib.contextmanager
def mycelium_broker(directory: Path) -> Iterator[Middle]:
    """Our broker, with its journal."""
    config, address = write_system(directory, Four)
    assert address.publish is not None
    arguments = ("broker", "--config", config)
    with RoleProcess.python("mycelium", *arguments, name="broker", ready_in="stderr", end_signal=signal.SIGTERM) as it:
        yield Middle((address.frames, address.control, address.publish), (it.pid,))


@contextlib.contextmanager
def _listening(command: tuple[object, ...], port: int) -> Iterator[int]:
    """A server of others. It is there when it accepts a connection: what it writes differs between versions."""
    name = str(command[0])
    path = program(name)
    if path is None:
        raise RoleError(name, "is not installed")
    process = RoleProcess((path, *command[1:]), name=name, end_signal=signal.SIGTERM)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _accepts(port):
            if time.monotonic() > deadline:
                raise RoleError(name, f"accepts no connection in {PATIENCE:g} s")
            time.sleep(POLL_SECONDS)
        yield process.pid
    finally:
        process.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
