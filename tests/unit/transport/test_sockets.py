"""Ports: what they do when there is no room."""

from __future__ import annotations

import asyncio

import zmq

from mycelium.transport.sockets import Port


async def test_a_port_that_is_full_does_not_try_without_end() -> None:
    """An XPUB says at any time that there is room. Trying again because of that took a core while a broker was down."""
    tries: list[bool] = []
    received: list[bytes] = []
    subscribed = asyncio.Event()

    def on_room() -> None:
        tries.append(out.send(b"again"))

    out = Port(zmq.XPUB, lambda _burst: subscribed.set(), on_room=on_room, options={zmq.XPUB_NODROP: 1, zmq.SNDHWM: 2})
    there: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.XSUB)
    there.setsockopt(zmq.RCVHWM, 2)
    there.bind("inproc://a-port-that-is-full")
    out.connect("inproc://a-port-that-is-full")
    there.send(b"\1")
    await subscribed.wait()
    try:
        while out.send(b"frame"):
            pass
        for _ in range(200):
            await asyncio.sleep(0)
        # What was sent before it was full may have left one look due.
        assert len(tries) <= 2
        assert not any(tries)
        while b"again" not in received:
            received.append(await asyncio.to_thread(there.recv))
        assert any(tries)
    finally:
        out.close()
        there.close(linger=0)
