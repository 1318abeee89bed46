"""The paths that the conformance suite runs over: where the writer and the reader of a case live."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from mycelium.broker.broker import Broker
from mycelium.broker.security import Security
from mycelium.bus.bus import Bus
from mycelium.core.access import Access, Entry, Rights
from mycelium.core.ledger import Ledger
from mycelium.core.topics import Pattern
from mycelium.journal import LmdbJournal
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.exchange import Network
from mycelium.transport.guard import user_of
from mycelium.transport.keyring import BROKER as BROKER_NAME
from mycelium.transport.keyring import Credentials, KeyPair, fingerprint
from mycelium.transport.ports import free_ports

T = TypeVar("T")

Keys: TypeAlias = Callable[[str], Credentials]

NAMES = ("writer", "reader", "other")
"""Of the buses that a case opens."""

TYPE_IDS = (1, 2)
"""Of the contracts that a case uses."""


class Side(Protocol):
    """One end of a path: a bus, and how to run something in its event loop."""

    async def call(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        """Run ``function`` with the bus, in the bus's event loop."""
        ...


@dataclass(frozen=True)
class Ends:
    """Both ends of an open path.

    Args:
        writer: where a case publishes.
        reader: where it subscribes.
        ledger: the books of both.
    """

    writer: Side
    reader: Side
    ledger: Callable[[], Ledger]


@dataclass(frozen=True)
class Path:
    """A path and what it guarantees beyond the rest of the suite. Differences are flags, so that they are seen.

    Args:
        name: for test ids.
        open: opens it.
        by_reference: the reader gets the very object that was published.
        keeps: a store stands between writer and reader. Publishers do not wait for a slow reader, which reads
            from the store at its own pace; nobody knows what is never read; a reader may begin with what was
            published before it came, and go on where it was.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Ends]]
    by_reference: bool
    keeps: bool = False


class _Here:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def call(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        return await function(self._bus)


class OtherThread:
    """A bus in an event loop of its own, in a thread of its own. It is a :class:`Side`.

    Args:
        network: what connects it to other buses.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="reader")
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._bus: Bus
        self._end: asyncio.Event

    async def _live(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Bus("reader", network=self._network) as self._bus:
            self._ready.set()
            await self._end.wait()

    async def call(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        """See :class:`Side`."""

        async def run() -> T:
            return await function(self._bus)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))

    async def start(self) -> None:
        """Start the thread. Returns when its bus is open."""
        self._thread.start()
        await asyncio.to_thread(self._ready.wait)

    async def stop(self) -> None:
        """Close the bus and end the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join)


@contextlib.asynccontextmanager
async def _open_local() -> AsyncIterator[Ends]:
    network = Network()
    async with Bus("writer", network=network) as writer, Bus("reader", network=network) as reader:
        yield Ends(_Here(writer), _Here(reader), network.ledger)


@contextlib.asynccontextmanager
async def _open_inproc() -> AsyncIterator[Ends]:
    # A low mark, so that a case can fill the path without a million messages.
    network = Network(high_water_mark=2)
    async with Bus("writer", network=network) as writer:
        other = OtherThread(network)
        await other.start()
        try:
            yield Ends(_Here(writer), other, network.ledger)
        finally:
            await other.stop()


@contextlib.asynccontextmanager
async def _open_ipc() -> AsyncIterator[Ends]:
    async with _directory() as directory:
        writing, reading = (
            StoreAddress(name, f"ipc://{directory}/{name}.frames", f"ipc://{directory}/{name}.control")
            for name in ("writing", "reading")
        )
        first = Network(fabric=Fabric(own=writing, stores=(reading,)))
        second = Network(fabric=Fabric(own=reading, stores=(writing,)))
        async with _both(first, second) as ends:
            yield ends


@contextlib.asynccontextmanager
async def _open_broker(security: Security | None = None, keys: Keys | None = None) -> AsyncIterator[Ends]:
    async with _directory() as directory:
        ports = free_ports(3)
        frames, control, publish = (f"tcp://127.0.0.1:{port}" for port in ports)
        address = StoreAddress("broker", frames, control, publish)
        journal = LmdbJournal(directory, max_bytes=256 << 20)
        broker = Broker(address, journal, time.time_ns, security=security)
        broker.open()
        try:
            networks = [Network(fabric=Fabric(stores=(address,), keys=keys)) for _ in range(2)]
            async with _both(*networks) as ends:
                yield ends
            # A case does nothing that is not its to do.
            assert security is None or not broker.refused.counts, broker.refused.counts
        finally:
            await broker.aclose()
            journal.close()


def _open_broker_with_keys() -> AbstractAsyncContextManager[Ends]:
    """Everybody of the suite may publish and read the suite's contracts, wherever they are, and nothing else."""
    pairs = {name: KeyPair.new() for name in (BROKER_NAME, *NAMES)}
    entries = tuple(Entry(type_id, Pattern.parse(">")) for type_id in TYPE_IDS)
    access = Access({name: Rights(publishes=entries, subscribes=entries) for name in NAMES})
    users = {pairs[name].public: user_of(name, fingerprint(pairs[name].public)) for name in NAMES}
    servers = (pairs[BROKER_NAME].public,)
    credentials = {name: Credentials(name, pairs[name], servers) for name in NAMES}
    return _open_broker(Security(access, users, pairs[BROKER_NAME]), credentials.__getitem__)


@contextlib.asynccontextmanager
async def _directory() -> AsyncIterator[str]:
    """A directory whose name is short enough for ipc paths."""
    made = await asyncio.to_thread(tempfile.mkdtemp, prefix="my-")
    try:
        yield made
    finally:
        await asyncio.to_thread(shutil.rmtree, made)


@contextlib.asynccontextmanager
async def _both(first: Network, second: Network) -> AsyncIterator[Ends]:
    """Two networks that know nothing of one another but the addresses, in one event loop."""
    async with Bus("writer", network=first) as writer, Bus("reader", network=second) as reader:
        yield Ends(_Here(writer), _Here(reader), lambda: first.ledger() + second.ledger())


LOCAL = Path("local", _open_local, by_reference=True)
"""Writer and reader in one event loop."""

INPROC = Path("inproc", _open_inproc, by_reference=False)
"""Writer and reader in two threads of one process, over ZeroMQ inproc."""

IPC = Path("ipc", _open_ipc, by_reference=False, keeps=True)
"""Writer and reader as two bundles of one host, each with a store of its own in memory, over ZeroMQ ipc."""

BROKER = Path("broker", _open_broker, by_reference=False, keeps=True)
"""Writer and reader on two hosts, over tcp through a broker with a journal on disk."""

BROKER_WITH_KEYS = Path("broker with keys", _open_broker_with_keys, by_reference=False, keeps=True)
"""The same with keys: every connection is encrypted, and the broker judges all that it is told."""

PATHS = (LOCAL, INPROC, IPC, BROKER, BROKER_WITH_KEYS)
"""All of them."""
