"""The paths that are measured, and the processes at both ends of each."""

from __future__ import annotations

import enum
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from mycelium.bench.processes import RoleProcess, RoleProcesses
from mycelium.bench.roles import ProxySettings, RawSettings, TypedSettings
from mycelium.bench.workplace import ENDS, ipc_store, own_environment, tcp, write_system
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.ports import free_ports


class Key(enum.StrEnum):
    """What is measured."""

    RAW_PROXY = "raw_proxy"
    """ZeroMQ alone over tcp, through its proxy."""
    RAW_IPC = "raw_ipc"
    """ZeroMQ alone over ipc."""
    LOCAL = "local"
    """The fabric in one event loop, by reference."""
    IPC = "ipc"
    """The fabric between two processes of a host."""
    TCP = "tcp"
    """The fabric through its broker."""
    TCP_ONE_BY_ONE = "tcp_one_by_one"
    """The same, published and read message by message."""
    TCP_UNCOALESCED = "tcp_uncoalesced"
    """The same, and each message in a frame of its own."""
    TCP_KEYS = "tcp_keys"
    """As tcp, with keys: encrypted, and each frame and question judged."""
    TCP_KEYS_UNCOALESCED = "tcp_keys_uncoalesced"
    """As tcp_uncoalesced, with keys."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The processes of an open path.

    Args:
        near: publishes.
        far: reads. The same one where both are in one event loop.
        broker: between them, if it is the fabric's.
    """

    near: RoleProcess
    far: RoleProcess
    broker: RoleProcess | None = None


@dataclass(frozen=True, slots=True)
class MeasuredPath:
    """A path, and how it is used.

    Args:
        open: starts its processes; takes those that are started over, and a directory for what they write.
        publish: ``many`` at a time, or ``one``.
        read: in ``batches``, or in ``steps`` of one.
        has_latency: whether it is measured.
        floor: what it is compared with.
    """

    open: Callable[[RoleProcesses, Path], Ends]
    publish: str = "many"
    read: str = "batches"
    has_latency: bool = False
    floor: Key | None = None


def _role(name: str, role: str, settings: Any, **options: Any) -> RoleProcess:
    text = msgspec.json.encode(settings).decode()
    return RoleProcess.python("mycelium.bench.roles", role, text, name=name, **options)


def _all_ready(*processes: RoleProcess) -> None:
    for process in processes:
        process.wait_ready()


def start_proxy(processes: RoleProcesses) -> tuple[RoleProcess, str, str]:
    """Start a proxy of ZeroMQ's: its process, where one sends to it, and where one receives from it.

    Raises:
        RoleError: it failed.
    """
    front, back = map(tcp, free_ports(2))
    proxy = processes.add(_role("proxy", "proxy", ProxySettings(front, back), end_signal=signal.SIGTERM))
    proxy.wait_ready()
    return proxy, front, back


def start_broker(
    processes: RoleProcesses, directory: Path, *, journal_bytes: int | None = None, keys: Path | None = None
) -> tuple[RoleProcess, StoreAddress]:
    """Start a broker with its files in a directory: its process, and where it is.

    Args:
        processes: that end with it.
        directory: an empty one.
        journal_bytes: how much it keeps; by default as much as any broker.
        keys: where to make keys, if it is to ask for them.

    Raises:
        RoleError: it failed.
    """
    topology, address = write_system(directory, journal_bytes=journal_bytes, keys=keys)
    broker = processes.add(
        RoleProcess(
            (sys.executable, "-m", "mycelium", "broker", "--config", topology),
            name="broker",
            ready_in="stderr",
            end_signal=signal.SIGTERM,
            environment=own_environment(),
        )
    )
    broker.wait_ready()
    return broker, address


def _open_raw_proxy(processes: RoleProcesses, _directory: Path) -> Ends:
    _, front, back = start_proxy(processes)
    near, far = (
        processes.add(_role(name, "raw", RawSettings(name, peer, front, back, binds=False)))
        for name, peer in (ENDS, ENDS[::-1])
    )
    _all_ready(near, far)
    return Ends(near, far)


def _open_raw_ipc(processes: RoleProcesses, directory: Path) -> Ends:
    base = f"ipc://{directory}/"
    near, far = (
        processes.add(_role(name, "raw", RawSettings(name, peer, base + name, base + peer, binds=True)))
        for name, peer in (ENDS, ENDS[::-1])
    )
    _all_ready(near, far)
    return Ends(near, far)


def _open_local(processes: RoleProcesses, _directory: Path) -> Ends:
    both = processes.add(_role("both", "typed", TypedSettings("both", 0, 0)))
    both.wait_ready()
    return Ends(both, both)


def _open_ipc(processes: RoleProcesses, directory: Path) -> Ends:
    stores = [ipc_store(directory, end) for end in ENDS]
    near, far = (
        processes.add(
            _role(end, "typed", TypedSettings(end, lane, 1 - lane, stores=(stores[1 - lane],), own=stores[lane]))
        )
        for lane, end in enumerate(ENDS)
    )
    _all_ready(near, far)
    return Ends(near, far)


def _open_tcp(processes: RoleProcesses, directory: Path, *, coalesce: bool = True, with_keys: bool = False) -> Ends:
    keys = directory / "keys" if with_keys else None
    broker, address = start_broker(processes, directory, keys=keys)
    settings = (
        TypedSettings(
            end, lane, 1 - lane, stores=(address,), coalesce=coalesce, keys=None if keys is None else str(keys)
        )
        for lane, end in enumerate(ENDS)
    )
    near, far = (processes.add(_role(one.name, "typed", one)) for one in settings)
    _all_ready(near, far)
    return Ends(near, far, broker)


PATHS: MappingProxyType[Key, MeasuredPath] = MappingProxyType(
    {
        Key.RAW_PROXY: MeasuredPath(_open_raw_proxy, has_latency=True),
        Key.RAW_IPC: MeasuredPath(_open_raw_ipc, has_latency=True),
        Key.LOCAL: MeasuredPath(_open_local),
        Key.IPC: MeasuredPath(_open_ipc, has_latency=True, floor=Key.RAW_IPC),
        Key.TCP: MeasuredPath(_open_tcp, has_latency=True, floor=Key.RAW_PROXY),
        Key.TCP_ONE_BY_ONE: MeasuredPath(_open_tcp, "one", "steps", floor=Key.RAW_PROXY),
        Key.TCP_UNCOALESCED: MeasuredPath(partial(_open_tcp, coalesce=False), "one", "steps", floor=Key.RAW_PROXY),
        Key.TCP_KEYS: MeasuredPath(partial(_open_tcp, with_keys=True), has_latency=True, floor=Key.TCP),
        Key.TCP_KEYS_UNCOALESCED: MeasuredPath(
            partial(_open_tcp, coalesce=False, with_keys=True), "one", "steps", floor=Key.TCP_UNCOALESCED
        ),
    }
)
"""All of them."""
