"""What ``mycelium doctor`` looks at: this machine, the files, what is needed of this host, and the running system.

Each check says what it found. None changes anything, and none ends the others.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from mycelium import __version__
from mycelium.bench.machine import this_machine
from mycelium.cli.check import wiring_of
from mycelium.cli.fabric import state_directory, stores
from mycelium.cli.http import endpoint_of
from mycelium.cli.ledger import rows_of
from mycelium.cli.security import operator_credentials
from mycelium.cli.system import System, placements
from mycelium.core.envelope import IS_COMPILED
from mycelium.core.errors import ConfigError, MyceliumError
from mycelium.spec.check import check_spec, check_topology
from mycelium.topology.hosts import is_loopback
from mycelium.topology.model import BROKER, Mode
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import StoreBooks, read_books
from mycelium.transport.reachability import StoreState, look_at

SPARE_FILES = 64
"""Open files of a process beside its connections. Chosen by us: journal, logs, and what Python has open."""

FILES_EACH_CONNECTION = 3
"""At a broker: one for each of its ports."""


class Verdict(StrEnum):
    """How good or bad it is."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Args:
        area: of what.
        verdict: how good or bad it is.
        what: a sentence.
        advice: what to do; empty if nothing is to be done.
    """

    area: str
    verdict: Verdict
    what: str
    advice: str = ""


MACHINE, FILES, HOST, RUNNING = "this machine", "files", "this host", "running system"


def machine() -> Iterator[Finding]:
    """Look at what everything runs on."""
    found = this_machine()
    yield Finding(MACHINE, Verdict.GOOD, f"mycelium {__version__} on {found.python}, {found.kernel}")
    yield Finding(
        MACHINE, Verdict.GOOD, f"pyzmq {found.pyzmq}, libzmq {found.libzmq}; {found.cores} cores, {found.cpu}"
    )
    if IS_COMPILED:
        yield Finding(MACHINE, Verdict.GOOD, "the codec is compiled")
    else:
        yield Finding(
            MACHINE,
            Verdict.NOTE,
            "the codec is not compiled: frames cost some 3 µs more each",
            "install a C compiler, then install mycelium again",
        )


def files(system: System) -> Iterator[Finding]:
    """Hold code, spec and topology to one another."""
    topology, spec = system.topology, system.spec
    problems = check_spec(spec, system.code, str(topology.spec_path)) + check_topology(spec, topology)
    placed = list(topology.values.placed)
    try:
        placements(system, placed)
    except ConfigError as error:
        problems += [problem for problem in error.problems if problem not in problems]
    for problem in problems:
        yield Finding(FILES, Verdict.BAD, str(problem), "see mycelium spec check")
    if not problems:
        mode = topology.values.deployment.mode.value
        yield Finding(FILES, Verdict.GOOD, f"{topology.path}: {len(placed)} services, mode {mode}, as system.yaml says")
    values = topology.values
    if values.security.keys is None and values.deployment.mode is Mode.DISTRIBUTED and values.broker is not None:
        open_to_all = not is_loopback(values.broker.host)
        yield Finding(
            FILES,
            Verdict.BAD if open_to_all and not values.security.insecure else Verdict.NOTE,
            f"the broker at {values.broker.host} asks nobody for a key",
            "mycelium keys create, then security.keys" if open_to_all else "",
        )


def host(system: System) -> Iterator[Finding]:
    """Look at what the processes of the topology would need of this host."""
    values, topology = system.topology.values, system.topology
    if values.deployment.mode is not Mode.MONOLITH:
        yield from _disk(state_directory(topology).resolve(), _journal_bytes(system))
    if values.deployment.mode is Mode.BUNDLED:
        yield _writable("ipc sockets", values.inter_bundle.socket_dir)
    if values.broker is not None:
        wanted = SPARE_FILES + FILES_EACH_CONNECTION * values.broker.limits.connections
        yield from _open_files(wanted)
    for process in _processes(system):
        try:
            endpoint_of(topology, process)
        except ConfigError as error:
            yield Finding(HOST, Verdict.BAD, str(error), "see docs/how-to/health-endpoints.md")
    if values.tracing.endpoint is not None:
        yield _collector(values.tracing.endpoint)


def _journal_bytes(system: System) -> int:
    values = system.topology.values
    if values.deployment.mode is Mode.BUNDLED:
        return values.inter_bundle.journal_bytes * len(values.bundles) if values.inter_bundle.journal == "lmdb" else 0
    return values.broker.journal_bytes if values.broker is not None else 0


def _processes(system: System) -> list[str | None]:
    values = system.topology.values
    if values.deployment.mode is Mode.MONOLITH:
        return [None]
    broker = [BROKER] if values.deployment.mode is Mode.DISTRIBUTED else []
    return [*broker, *(bundle.name for bundle in values.bundles)]


def _disk(directory: Path, wanted: int) -> Iterator[Finding]:
    yield _writable("journals and outboxes", directory)
    if not wanted:
        return
    there = _nearest(directory)
    free = shutil.disk_usage(there).free
    used = sum(file.stat().st_blocks * 512 for file in directory.rglob("*.mdb")) if directory.is_dir() else 0
    if free + used < wanted:
        yield Finding(
            HOST,
            Verdict.BAD,
            f"{there} has {_size(free)} free, and journals may grow to {_size(wanted)}",
            "make room, or lower journal_bytes: publishers wait when the disk is full",
        )
    else:
        yield Finding(HOST, Verdict.GOOD, f"{there} has {_size(free)} free, of {_size(wanted)} that journals may take")


def _writable(what: str, directory: Path) -> Finding:
    there = _nearest(directory)
    if not there.is_dir():
        return Finding(HOST, Verdict.BAD, f"{what}: {there} is no directory", "name another one")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            HOST, Verdict.BAD, f"{what}: {there} cannot be written by this user", "chown it, or name another"
        )
    made = "" if there == directory else ", which will be made"
    return Finding(HOST, Verdict.GOOD, f"{what}: {directory}{made}")


def _nearest(path: Path) -> Path:
    """It, or what is there of the way to it."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def _size(number: int) -> str:
    size = float(number)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _open_files(wanted: int) -> Iterator[Finding]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        yield Finding(
            HOST,
            Verdict.BAD,
            f"a process may have {most:,} open files, and a broker with all its connections needs {wanted:,}",
            "raise the limit (ulimit -n, LimitNOFILE), or lower broker.limits.connections",
        )
    else:
        yield Finding(HOST, Verdict.GOOD, f"enough open files for a broker with all its connections ({wanted:,})")


def _collector(endpoint: str) -> Finding:
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), 2.0).close()
    except OSError as error:
        return Finding(HOST, Verdict.BAD, f"the collector at {endpoint}: {error.strerror or error}", "is it running?")
    return Finding(HOST, Verdict.GOOD, f"the collector at {endpoint} can be reached")


def running(system: System, seconds: float, operator: str) -> Iterator[Finding]:
    """Ask the running system, if it runs.

    Args:
        system: which.
        seconds: how long each part may take to answer.
        operator: whose key is shown.
    """
    addresses = stores(system.topology)
    if addresses:
        try:
            yield from _asked(system, addresses, seconds, operator)
        except MyceliumError as error:
            yield Finding(RUNNING, Verdict.BAD, str(error))
    for process in _processes(system):
        yield from _answering(system, process, seconds)


def _asked(system: System, addresses: tuple[StoreAddress, ...], seconds: float, operator: str) -> Iterator[Finding]:
    credentials = operator_credentials(system.topology, operator)

    async def look() -> tuple[list[StoreState], list[StoreBooks]]:
        states = await asyncio.gather(*(look_at(address, seconds, credentials) for address in addresses))
        there = [one for one, state in zip(addresses, states, strict=True) if state.readers is not None]
        return list(states), list(await asyncio.gather(*(read_books(one, seconds, credentials) for one in there)))

    states, books = asyncio.run(look())
    if not books:
        names = ", ".join(state.name for state in states)
        yield Finding(RUNNING, Verdict.NOTE, f"it does not run here: {names} cannot be reached", "")
        return
    for state in states:
        for found in state.endpoints:
            if found.problem is not None:
                what = f"{state.name}, {found.kind} at {found.endpoint}: {found.problem}"
                yield Finding(RUNNING, Verdict.BAD, what, "see docs/how-to/find-out-why-nothing-arrives.md")
    missing = [wire for wire in wiring_of(system, states) if wire.joined is False]
    for wire in missing:
        what = f"{wire.reader} has not joined {wire.store}"
        yield Finding(RUNNING, Verdict.BAD, what, f"is bundle {wire.bundle} running? What is kept, it reads when it is")
    if not missing:
        yield Finding(RUNNING, Verdict.GOOD, "everyone who is to read has joined")
    rows = list(rows_of(books))
    lost = sum(abs(row["missing"]) for row in rows)
    waiting = sum(row["waiting"] for row in rows)
    if lost:
        yield Finding(RUNNING, Verdict.BAD, f"{lost:,} messages are missing in the books", "see mycelium ledger")
    else:
        yield Finding(RUNNING, Verdict.GOOD, f"the ledger balances; {waiting:,} messages wait for their readers")
    for offence in (one for store in books for one in store.offences):
        what = f"refused {offence.count:,} times: {offence.who}: {offence.cause} {offence.what}".rstrip()
        yield Finding(RUNNING, Verdict.BAD, what, "see mycelium ledger, and docs/how-to/use-keys.md")


def _answering(system: System, process: str | None, seconds: float) -> Iterator[Finding]:
    http = system.topology.values.http
    port = http.port_of(process)
    if port is None:
        return
    name = process or "the process"
    try:
        with urllib.request.urlopen(f"http://{_own(http.host)}:{port}/readyz", timeout=seconds):
            yield Finding(RUNNING, Verdict.GOOD, f"{name} says at port {port} that it is ready")
    except urllib.error.HTTPError as error:
        said = error.read(1_000).decode("utf-8", "replace")
        yield Finding(RUNNING, Verdict.BAD, f"{name} says at port {port} that it is not ready: {said}", "see its log")
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        yield Finding(RUNNING, Verdict.NOTE, f"{name} does not answer at port {port} here: {reason}")


def _own(bound: str) -> str:
    """Where to reach what is bound there, from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bound, f"[{bound}]" if ":" in bound else bound)  # noqa: S104
