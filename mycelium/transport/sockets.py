"""ZeroMQ sockets in an event loop, without ``zmq.asyncio``.

Measured: ``zmq.asyncio`` receives 35,000 frames/s where a plain socket, drained without blocking when
its file descriptor turns readable, receives over 430,000. The descriptor is edge-triggered (libzmq,
``ZMQ_FD``): it says "something changed", once. So both classes read ``ZMQ_EVENTS`` or try the
operation until EAGAIN before they wait, and look again after every send.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from mycelium.core.errors import PathError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

HIGH_WATER_MARK = 64
"""Frames per direction. Chosen by us: 4 MiB if all are as large as frames of many become; what finds no room is
gathered, and leaves in fewer frames."""

# Frames handled before others in the event loop get their turn. Chosen by us: at some 2 µs a frame
# a burst holds the loop for half a millisecond.
BURST = 256


# As plain numbers: with pyzmq's flags each "and" makes an enum, for more than receiving a frame takes.
_DONTWAIT, _EVENTS = int(zmq.DONTWAIT), int(zmq.EVENTS)
_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_MORE = int(zmq.DONTWAIT) | int(zmq.SNDMORE)
_SOURCE = int(zmq.SRCFD)

BURST_BYTES = 8 << 20
"""What a burst holds at most, give or take a frame, where anybody may send: it is all in memory at once."""

BIND_PAUSE = 0.005
BIND_SECONDS = 5.0
"""How often, and for how long without a word, an endpoint is tried that this process has just given back."""

ANONYMOUS = ""
"""The user of a connection without keys."""

MAX_MESSAGE = 2 << 20
"""Bytes of one message, above which libzmq closes the connection: the largest frame, and what is around it."""

# A socket that connects must never be full of what it has received: while it is, libzmq reads no heartbeats, takes the
# connection for dead, makes another, and may then end the process by an assertion (libzmq issue 3937, in 4.3.5 and
# all before). So whoever connects has no high-water mark for it; :attr:`Port.unbroken` is there to act in time.
_COMMON_OPTIONS: Mapping[int, int] = {
    zmq.MAXMSGSIZE: MAX_MESSAGE,
    # A peer that is gone without a word is noticed within some seconds.
    zmq.HEARTBEAT_IVL: 1_000,
    zmq.HEARTBEAT_TIMEOUT: 4_000,
    zmq.HEARTBEAT_TTL: 4_000,
    zmq.HANDSHAKE_IVL: 4_000,
    zmq.CONNECT_TIMEOUT: 3_000,
    zmq.RECONNECT_IVL: 50,
    zmq.RECONNECT_IVL_MAX: 1_000,
    zmq.LINGER: 0,
}

# A socket that is bound has such a mark, or its peers could fill the memory. So it must send no heartbeats: when its
# peer goes while it is full, libzmq's next one ends the process by an assertion (libzmq issue 4364, in 4.3.5 and all
# before). It answers those of its peers, which say how long to wait for the next one; what a network has cut off
# without a word, the kernel finds.
_BOUND_OPTIONS: Mapping[int, int] = {
    zmq.HEARTBEAT_IVL: 0,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 4,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 4,
}

Context = zmq.Context[zmq.Socket[bytes]]


def shared_context() -> Context:
    """The context that all threads of this process share; inproc endpoints live in it."""
    return zmq.Context.instance()


class FrameSender:
    """The sending side of a PUSH socket: never drops, tells when it is full.

    Args:
        context: shared by all threads of the process.
        endpoint: where the receiver is bound.
        on_room: called in the event loop when there may be room again after :meth:`send` said False.
        high_water_mark: frames that libzmq holds on this side.
    """

    def __init__(
        self, context: Context, endpoint: str, on_room: Callable[[], None], high_water_mark: int = HIGH_WATER_MARK
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = context.socket(zmq.PUSH)
        self._socket.sndhwm = high_water_mark
        self._socket.connect(endpoint)
        self._on_room = on_room
        self._descriptor = self._socket.fileno()
        self._loop.add_reader(self._descriptor, self._changed)
        self._full = False

    def send(self, frame: bytes) -> bool:
        """Hand the frame to libzmq; False if it has no room for it now."""
        try:
            self._socket.send(frame, _DONTWAIT)
        except zmq.Again:
            self._full = True
            return False
        return True

    def _changed(self) -> None:
        # Reading EVENTS is what arms the descriptor again.
        if int(self._socket.getsockopt(_EVENTS)) & _POLLOUT and self._full:
            self._full = False
            self._on_room()

    def close(self) -> None:
        """Close the socket. What libzmq has taken stays in the pipe for a reader in the same process."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)


class FrameReceiver:
    """The receiving side of a PULL socket: hands every frame to one async function, in order.

    While that function waits (for room in a queue), nothing more is received, so that the senders'
    high-water mark makes them wait in their turn.

    Args:
        context: shared by all threads of the process.
        endpoint: where to bind.
        on_frame: handles one frame without waiting, or returns what must be awaited before the next.
        high_water_mark: frames that libzmq holds on this side.

    Raises:
        PathError: the endpoint cannot be bound.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        on_frame: Callable[[bytes], Awaitable[None] | None],
        high_water_mark: int = HIGH_WATER_MARK,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = context.socket(zmq.PULL)
        self._socket.rcvhwm = high_water_mark
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise PathError(endpoint, f"cannot bind: {error}") from error
        self._on_frame = on_frame
        self._readable = asyncio.Event()
        self._descriptor = self._socket.fileno()
        self._loop.add_reader(self._descriptor, self._changed)
        self._task = self._loop.create_task(self._receive(), name=f"receive {endpoint}")

    def _changed(self) -> None:
        # Reading EVENTS takes libzmq's signal off the descriptor. Without it the descriptor would stay
        # readable, and the loop would spin, while a full queue keeps us from receiving.
        if int(self._socket.getsockopt(_EVENTS)) & _POLLIN:
            self._readable.set()

    async def _receive(self) -> None:
        receive, handle = self._socket.recv, self._on_frame
        while True:
            self._readable.clear()
            try:
                for _ in range(BURST):
                    waiting = handle(receive(_DONTWAIT))
                    if waiting is not None:
                        await waiting
            except zmq.Again:
                await self._readable.wait()
            except Exception:
                # What bytes can cause is dealt with below us, so this is a fault of ours. It costs this
                # frame, which the ledger shows as missing, and not all that come after it.
                log.exception("a frame could not be handled")
            else:
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Stop receiving and close the socket."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)


class Received(NamedTuple):
    """What a peer has sent, and who it is.

    Args:
        data: the bytes.
        user: what the authentication said of its connection; :data:`ANONYMOUS` without one.
        descriptor: of its connection, -1 where libzmq does not tell: over ipc, or when the connection is gone.
        peer: its routing id, from a ROUTER.
        parts: how many frames there were beside the routing id.
    """

    data: bytes
    user: str
    descriptor: int
    peer: bytes = b""
    parts: int = 1


class ConnectionEvent(NamedTuple):
    """What has become of a connection of a bound socket.

    Args:
        kind: of the event, as libzmq numbers them.
        value: a descriptor, or what went wrong.
    """

    kind: int
    value: int


class Port:
    """A socket that both sends and receives: never waits, hands what comes in to one function, a burst at a time.

    Args:
        kind: the socket's type, such as ``zmq.ROUTER``.
        on_burst: takes what has come, up to :data:`BURST` frames; lists of parts from a ROUTER.
        on_each: sees each of them at once, before the next one is received.
        on_room: called when there may be room again after :meth:`send` said False.
        options: options of libzmq, set before the socket is bound or connected.
        attributed: whether what comes in is handed over as :class:`Received`, with who has sent it.
    """

    def __init__(
        self,
        kind: int,
        on_burst: Callable[[list[Any]], None],
        *,
        on_each: Callable[[Any], None] | None = None,
        on_room: Callable[[], None] = lambda: None,
        options: Mapping[int, int | bytes] = MappingProxyType({}),
        attributed: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = shared_context().socket(kind)
        self.set_options({**_COMMON_OPTIONS, **options})
        self._receive: Callable[[int], Any] = self._receiver(kind, attributed=attributed)
        self._attributed = attributed
        self._monitor: zmq.Socket[bytes] | None = None
        self._on_event: Callable[[ConnectionEvent], None] = lambda _event: None
        self._binding: asyncio.TimerHandle | None = None
        self._on_burst = on_burst
        self._on_each = on_each
        self._on_room = on_room
        self._endpoint = ""
        self._closed = False
        self._full = False
        self._look_is_due = False
        self.unbroken: int = 0
        """How many frames have come without an end, so that more are waiting."""
        self._descriptor = self._socket.fileno()
        self._loop.add_reader(self._descriptor, self._look)

    def bind(self, endpoint: str) -> None:
        """Bind it.

        Raises:
            PathError: the endpoint is taken or not grammatical.
        """
        self._endpoint = endpoint
        self.set_options(_BOUND_OPTIONS)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise PathError(endpoint, f"cannot bind: {error}") from None
        self._look_soon()

    def connect(self, endpoint: str) -> None:
        """Connect it, now and again whenever the connection breaks.

        Raises:
            PathError: the endpoint is not grammatical.
        """
        if not endpoint.startswith("tcp:"):
            # Within a host the kernel tells when a peer has gone. And a bound socket that was full when it went must
            # not find a heartbeat among what it has not read: its answer would end the process, as above.
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise PathError(endpoint, f"cannot connect: {error}") from None
        self._endpoint = endpoint
        self._look_soon()

    def connect_once(self, endpoint: str) -> None:
        """:meth:`connect`, unless it was: who may be the first to need the connection need not know whether it is.

        Raises:
            PathError: the endpoint is not grammatical.
        """
        if endpoint != self._endpoint:
            self.connect(endpoint)

    def option(self, number: int, value: bytes) -> None:
        """Set an option while the socket is in use: a subscription."""
        self._socket.setsockopt(number, value)
        self._look_soon()

    def set_options(self, options: Mapping[int, int | bytes]) -> None:
        """Set options that count for what is bound or connected after it."""
        for number, value in options.items():
            self._socket.setsockopt(number, value)

    def connect_anew(self, options: Mapping[int, int | bytes]) -> None:
        """End the connection, if there is one, and make another with these options. What was under way is lost."""
        self.set_options(options)
        if self._endpoint:
            self._socket.disconnect(self._endpoint)
            self.connect(self._endpoint)

    def bind_anew(self, options: Mapping[int, int | bytes]) -> None:
        """Go on listening with these options. Connections that are there already stay."""
        self.set_options(options)
        with contextlib.suppress(zmq.ZMQError):  # it is not bound: this was asked a moment ago
            self._socket.unbind(self._endpoint)
        if self._binding is None:
            self._bind_again(self._loop.time() + BIND_SECONDS)

    def _bind_again(self, patience: float) -> None:
        """Bind as soon as the endpoint is free: libzmq gives it back in a thread of its own, some time after unbind."""
        self._binding = None
        if self._closed:
            return
        try:
            self._socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            if self._loop.time() < patience:
                pause = BIND_PAUSE
            else:
                log.error("cannot listen again, and goes on trying", endpoint=self._endpoint, error=str(error))
                pause = BIND_SECONDS
            self._binding = self._loop.call_later(pause, self._bind_again, patience)
        self._look_soon()

    def watch(self, on_event: Callable[[ConnectionEvent], None]) -> None:
        """Tell about connections that come and go, from before :meth:`bind` on."""
        endpoint = f"inproc://monitor-{secrets.token_hex(8)}"
        self._socket.monitor(endpoint, _WATCHED)
        monitor = self._monitor = shared_context().socket(zmq.PAIR)
        monitor.rcvhwm = 0  # a full pipe would hold up the thread that does all input and output
        monitor.connect(endpoint)
        self._on_event = on_event
        self._loop.add_reader(monitor.fileno(), self._look_at_connections)
        self._loop.call_soon(self._look_at_connections)

    def _look_at_connections(self) -> None:
        """Before what has come over a connection is dealt with, that one and the end of others must be known.

        libzmq tells in this order, and uses descriptors again: heard of too late, an end would count for the next one.
        """
        if self._closed or self._monitor is None:  # before this look's turn came
            return
        # The descriptor is edge-triggered: read to the end, and look again if the end was not reached.
        try:
            for _ in range(BURST):
                found = parse_monitor_message(self._monitor.recv_multipart(_DONTWAIT))
                self._on_event(ConnectionEvent(int(found["event"]), int(found["value"])))
        except zmq.Again:
            return
        self._loop.call_soon(self._look_at_connections)

    def send(self, frame: bytes) -> bool:
        """Hand a frame to libzmq; False if it has no room for it now."""
        try:
            self._socket.send(frame, _DONTWAIT)
        except zmq.Again:
            # No look is due for it: an XPUB says at any time that there is room, and would be tried without end. What
            # makes room, or ends the connection, turns the descriptor readable.
            self._full = True
            return False
        self._look_soon()
        return True

    def send_to(self, peer: bytes, data: bytes) -> bool:
        """Hand a message for one peer of a ROUTER to libzmq; False if the peer is gone or has no room."""
        try:
            self._socket.send(peer, _MORE)
            self._socket.send(data, _DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        finally:
            self._look_soon()
        return True

    def send_parts(self, parts: list[bytes]) -> None:
        """Hand a message of several parts to libzmq, for a peer in the same process that waits for it."""
        self._socket.send_multipart(parts, _DONTWAIT)
        self._look_soon()

    def unbind(self) -> None:
        """Give the endpoint back at once; :meth:`close` does it some time later."""
        self._socket.unbind(self._endpoint)

    def skip(self, most: int) -> int:
        """Throw away what waits; how many frames that were, at most so many."""
        for number in range(most):
            try:
                self._receive(_DONTWAIT)
            except zmq.Again:
                self.unbroken = 0
                return number
        return most

    def _receiver(self, kind: int, *, attributed: bool) -> Callable[[int], Any]:
        socket = self._socket
        if kind == zmq.ROUTER:
            if not attributed:
                return socket.recv_multipart

            def parts_and_user(flags: int) -> Received:
                peer, *parts = socket.recv_multipart(flags, copy=False)
                data = parts[0] if parts else peer
                return Received(data.bytes if parts else b"", *_sender(data), peer.bytes, len(parts))

            return parts_and_user
        if not attributed:
            return socket.recv

        def frame_and_user(flags: int) -> Received:
            frame = socket.recv(flags, copy=False)
            return Received(frame.bytes, *_sender(frame))

        return frame_and_user

    def _look_soon(self) -> None:
        # Whatever was called may have taken the descriptor's signal: it must be looked again, once a turn.
        if not self._look_is_due:
            self._look_is_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._look_is_due = False
        if self._closed:
            return
        events = int(self._socket.getsockopt(_EVENTS))
        if self._full and events & _POLLOUT:
            self._full = False
            self._on_room()
        if events & _POLLIN and not self._closed:
            self._drain()

    def _drain(self) -> None:
        burst: list[Any] = []
        room = BURST_BYTES
        try:
            for _ in range(BURST):
                received = self._receive(_DONTWAIT)
                if self._on_each is not None:
                    self._look_at_connections()
                    self._on_each(received)
                burst.append(received)
                if self._attributed:
                    room -= len(received.data)
                    if room < 0:
                        break
        except zmq.Again:
            self.unbroken = 0
        else:
            self.unbroken += len(burst)
            self._look_soon()
        if burst:
            self._look_at_connections()
            try:
                self._on_burst(burst)
            except Exception:
                # What bytes can cause is dealt with above us, so this is a fault of ours. It costs this burst,
                # which is asked for again, and not all that come after it.
                log.exception("a burst could not be handled", endpoint=self._endpoint)

    def close(self, *, linger_ms: int = 0) -> None:
        """Close it; for ``linger_ms`` libzmq goes on sending what it has taken."""
        if not self._closed:
            self._closed = True
            if self._binding is not None:
                self._binding.cancel()
            if self._monitor is not None:
                self._loop.remove_reader(self._monitor.fileno())
                self._socket.disable_monitor()
                self._monitor.close(linger=0)
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=linger_ms)


_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


def _sender(frame: zmq.Frame) -> tuple[str, int]:
    """Who has sent a frame: user and descriptor. libzmq says neither of a connection that is gone."""
    try:
        user = frame.get("User-Id")
    except zmq.ZMQError:
        user = ANONYMOUS
    try:
        return str(user), int(frame.get(_SOURCE))
    except zmq.ZMQError:
        return str(user), -1


def dealer(on_burst: Callable[[list[Any]], None], options: Mapping[int, int | bytes] = MappingProxyType({})) -> Port:
    """The socket from which a client speaks to a store, which knows it by the same identity when it connects again."""
    identity = b"\1" + secrets.token_bytes(16)
    return Port(zmq.DEALER, on_burst, options={zmq.RCVHWM: 0, zmq.ROUTING_ID: identity, **options})
