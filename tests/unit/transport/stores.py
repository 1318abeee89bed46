"""Stores to ask, and clients that say what they like."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import structlog
import zmq

from mycelium.core.delivery.control import FromClient, FromStore, encode, from_store
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.journal import Entry, Journal, MemoryJournal
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.ports import free_ports
from mycelium.transport.sockets import Port, dealer
from mycelium.transport.store import Store

T = TypeVar("T", bound=FromStore)

SECONDS = 10.0
"""Within which an answer comes, or a test has failed."""

TYPE_ID = 1

_marks = itertools.count(1)


def stream(topic: str = "test.a", *, source: str = "writer", epoch: int = 1) -> StreamKey:
    return StreamKey(source_id(source), epoch, topic)


def frame(sequence: int = 1, *, of: StreamKey | None = None, count: int = 1, type_id: int = TYPE_ID) -> Frame:
    """A frame as it is published. Its messages are no messages of any contract."""
    of = of or stream()
    data = encode_frame(Envelope(of.topic, type_id, count, of.source, of.epoch, sequence, 1, b"\x90" * count))
    return Frame(of, sequence, count, data)


def entry(sequence: int = 1, *, of: StreamKey | None = None, count: int = 1) -> Entry:
    """The same for a journal."""
    made = frame(sequence, of=of, count=count)
    return Entry(made.stream, sequence, count, sequence, made.data)


def address(*, publish: bool = False) -> StoreAddress:
    """A store's endpoints over tcp that are free."""
    frames, control, publishing = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    return StoreAddress("store", frames, control, publishing if publish else None)


@contextlib.asynccontextmanager
async def open_store(
    journal: Journal | None = None, *, at: StoreAddress | None = None, time_ns: Callable[[], int] = time.time_ns
) -> AsyncIterator[Store]:
    """A store in this event loop."""
    kept = journal or MemoryJournal()
    store = Store(at or address(), kept, time_ns)
    store.open()
    try:
        yield store
    finally:
        await store.aclose()
        kept.close()


class Asker:
    """Says what it likes to a store's control port, and hears what comes back."""

    def __init__(self, store: StoreAddress) -> None:
        self.heard: asyncio.Queue[FromStore] = asyncio.Queue()
        self._port: Port = dealer(self._on_answers)
        self._port.connect(store.control)

    def _on_answers(self, burst: list[Any]) -> None:
        for data in burst:
            self.heard.put_nowait(from_store(data))

    def say(self, *said: FromClient | bytes) -> None:
        for one in said:
            assert self._port.send(one if isinstance(one, bytes) else encode(one))

    async def answer(self, kind: type[T]) -> T:
        """The next answer of a kind; others are passed over."""
        async with asyncio.timeout(SECONDS):
            while True:
                said = await self.heard.get()
                if isinstance(said, kind):
                    return said

    def close(self) -> None:
        self._port.close()


@contextlib.contextmanager
def asking(*stores: StoreAddress) -> Iterator[list[Asker]]:
    """Askers that are closed in the end."""
    askers = [Asker(store) for store in stores]
    try:
        yield askers
    finally:
        for asker in askers:
            asker.close()


class Listener:
    """Subscribes at a store's frames as it likes; what it says goes out as it is."""

    def __init__(self, endpoint: str) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        # An XSUB sends any bytes; a SUB would only send subscriptions.
        self._port = Port(zmq.XSUB, self._on_frames, options={zmq.SNDHWM: 0})
        self._port.connect(endpoint)

    def _on_frames(self, burst: list[bytes]) -> None:
        for data in burst:
            self.heard.put_nowait(data)

    def say(self, data: bytes) -> None:
        assert self._port.send(data)

    def subscribe(self, prefix: bytes) -> None:
        self.say(b"\1" + prefix)

    async def subscribed(self, store: Store, prefix: bytes) -> None:
        """Subscribe, and wait until the store has noted it."""
        mark = b"mark %d" % next(_marks)
        self.subscribe(prefix)
        self.subscribe(mark)
        await until(lambda: mark in store._audience)

    async def hear(self, begin: bytes) -> bytes:
        """The next frame that begins so; others are passed over."""
        async with asyncio.timeout(SECONDS):
            while not (data := await self.heard.get()).startswith(begin):
                pass
            return data

    def close(self) -> None:
        self._port.close()


@contextlib.contextmanager
def listening(endpoint: str, number: int = 1) -> Iterator[list[Listener]]:
    """Listeners that are closed in the end."""
    listeners = [Listener(endpoint) for _ in range(number)]
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is a number that a socket's thread changes
            await asyncio.sleep(0.001)


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""What a ZMTP 3.0 connection begins with."""


def ready(kind: bytes) -> bytes:
    """The command with which a socket of a kind is ready."""
    said = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    return b"\x04" + bytes([len(said)]) + said


class RawConnection:
    """A TCP connection that says what it likes, as whoever finds the port can.

    Args:
        endpoint: where to.
        kind: the kind of socket that it says to be; None to say nothing at all.
    """

    def __init__(self, endpoint: str, kind: bytes | None = None) -> None:
        host, port = endpoint.removeprefix("tcp://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        if kind is not None:
            self.say(GREETING + ready(kind))
            self._hear(len(GREETING))

    def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the other side may have hung up
            self._socket.sendall(data)

    def message(self, data: bytes) -> None:
        """Say a message of one part."""
        self.say(b"\0" + bytes([len(data)]) + data if len(data) < 256 else b"\2" + len(data).to_bytes(8, "big") + data)

    def _hear(self, number: int) -> None:
        while number > 0:
            number -= len(self._socket.recv(number))

    def hangs_up(self) -> bool:
        """Whether the other side closes the connection at once; a peer that is merely silent it bears for 4 seconds."""
        until = time.monotonic() + 2
        self._socket.settimeout(2)
        try:
            while self._socket.recv(4096):
                if time.monotonic() > until:
                    return False  # it goes on asking whether we are there
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as it was said."""
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc] # mutable mappings that are dicts
