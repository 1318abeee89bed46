"""ZeroMQ alone, as fast as Python can use it: what the fabric is compared with.

One message per send, one blocking receive per message, no event loop, nothing is checked and nothing kept.
"""

from __future__ import annotations

import time

import zmq

PAYLOAD_BYTES = 24

GIVE_UP_MS = 10_000
"""Chosen by us: when nothing has come for so long, it is lost."""


def zeromq_versions() -> tuple[str, str]:
    """Those of pyzmq and of libzmq."""
    return zmq.pyzmq_version(), zmq.zmq_version()


class RawEnd:
    """One of two ends, which send to one another.

    It sends with an XPUB socket: a PUB socket that tells when the other end has subscribed; nobody has to guess.

    Args:
        name: its first letter begins all that it sends.
        peer: the name of the other one.
        sends: where it sends, an endpoint.
        receives: where it receives.
        binds: whether ``sends`` is its own; else a proxy is there.
    """

    def __init__(self, name: str, peer: str, sends: str, receives: str, *, binds: bool) -> None:
        self._payload = name.encode().ljust(PAYLOAD_BYTES, b".")
        self._context = zmq.Context()
        self._out = self._context.socket(zmq.XPUB)
        self._in = self._context.socket(zmq.SUB)
        self._out.sndhwm = self._in.rcvhwm = 0
        self._out.linger = self._in.linger = 0
        self._in.rcvtimeo = GIVE_UP_MS
        self._in.subscribe(peer.encode())
        if binds:
            self._out.bind(sends)
        else:
            self._out.connect(sends)
        self._in.connect(receives)

    def wait_wired(self) -> None:
        """Return when the other end receives what is sent here."""
        wanted = b"\x01" + self._payload.rstrip(b".")
        while self._out.recv() != wanted:
            pass

    def send(self, count: int) -> float:
        """Send so many messages; the monotonic time before the first."""
        send, payload = self._out.send, self._payload
        started = time.monotonic()
        for _ in range(count):
            send(payload)
        return started

    def receive(self, count: int) -> tuple[int, float]:
        """Receive so many messages: how many have come, and the monotonic time after the last."""
        receive, received = self._in.recv, 0
        try:
            for received in range(1, count + 1):  # noqa: B007 - it is looked at after
                receive()
        except zmq.Again:
            received -= 1
        return received, time.monotonic()

    def ping(self, count: int) -> list[int]:
        """Send a message and wait for the other end's, so many times: how long each took, in ns.

        Raises:
            TimeoutError: none came.
        """
        send, receive, payload, now = self._out.send, self._in.recv, self._payload, time.perf_counter_ns
        took = []
        try:
            for _ in range(count):
                begun = now()
                send(payload)
                receive()
                took.append(now() - begun)
        except zmq.Again:
            raise TimeoutError(f"the answer to ping {len(took) + 1} of {count} was lost") from None
        return took

    def echo(self, count: int) -> int:
        """Answer so many messages; how many there were."""
        send, receive, payload = self._out.send, self._in.recv, self._payload
        for answered in range(count):
            try:
                receive()
            except zmq.Again:
                return answered
            send(payload)
        return count

    def close(self) -> None:
        """Close the sockets."""
        self._context.destroy(linger=0)


class RawProxy:
    """``zmq.proxy`` between those who send and those who receive.

    Args:
        front: where they send, an endpoint.
        back: where they receive.
    """

    def __init__(self, front: str, back: str) -> None:
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.XSUB)
        self._back = self._context.socket(zmq.XPUB)
        for socket in (self._front, self._back):
            socket.sndhwm = socket.rcvhwm = socket.linger = 0
        self._front.bind(front)
        self._back.bind(back)

    def run(self) -> None:
        """Pass messages on, until the process ends."""
        zmq.proxy(self._front, self._back)
