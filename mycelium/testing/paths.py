"""The paths that the conformance suite runs over: where the writer and the reader of a case live."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mycelium.bus.bus import Bus
from mycelium.core.ledger import Ledger
from mycelium.transport.exchange import Network

T = TypeVar("T")


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
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Ends]]
    by_reference: bool


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


LOCAL = Path("local", _open_local, by_reference=True)
"""Writer and reader in one event loop."""

INPROC = Path("inproc", _open_inproc, by_reference=False)
"""Writer and reader in two threads of one process, over ZeroMQ inproc."""
