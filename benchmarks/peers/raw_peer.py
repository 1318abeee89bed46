"""Raw pyzmq: the floor, below which nothing in Python over ZeroMQ can be.

Settings:

- PUB to a proxy process (XSUB to XPUB, ``zmq.proxy`` in C) to SUB over tcp on loopback, as everyone else here has a
  server in the middle.
- ``bytes``: a payload of 24 bytes made and read by ``struct``, one ``send`` and one ``recv`` for each. ``typed``: the
  same message as everyone's, encoded and decoded. What is between the two is the codec.
- No high-water marks anywhere: PUB drops at its mark without a word, and then it would not be the same work.
- Blocking sockets without an event loop: quicker than ``zmq.asyncio``.
"""

from __future__ import annotations

import struct
import sys

import msgspec
import zmq

from benchmarks.peers.message import Four, four
from benchmarks.peers.roles import Tally, serve_publishing

BODY = struct.Struct("<3q")
"""24 bytes: a number and two more."""


def _socket(kind: int, address: str, *, bind: bool = False) -> zmq.Socket[bytes]:
    made: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    made.setsockopt(zmq.RCVHWM, 0)
    made.setsockopt(zmq.SNDHWM, 0)
    made.setsockopt(zmq.LINGER, 0)
    if bind:
        made.bind(address)
    else:
        made.connect(address)
    return made


def pass_on(publish: str, frames: str) -> None:
    """The process in the middle."""
    publishers, readers = _socket(zmq.XSUB, publish, bind=True), _socket(zmq.XPUB, frames, bind=True)
    print("ready", flush=True)
    zmq.proxy(publishers, readers)


def publish(variant: str, address: str) -> None:
    """One ``send`` for each message."""
    send = _socket(zmq.PUB, address).send

    def send_bytes(numbers: range) -> None:
        pack = BODY.pack
        for number in numbers:
            send(pack(number, number, number))

    def send_typed(numbers: range) -> None:
        encode = msgspec.msgpack.Encoder().encode
        for number in numbers:
            send(encode(four(number)))

    serve_publishing(send_bytes if variant == "bytes" else send_typed)


def read(variant: str, address: str) -> None:
    """One ``recv`` for each message."""
    socket = _socket(zmq.SUB, address)
    socket.subscribe(b"")
    tally = Tally()
    tally.serve()
    take, receive = tally.take, socket.recv
    if variant == "bytes":
        unpack = BODY.unpack
        while True:
            take(unpack(receive())[0])
    decode = msgspec.msgpack.Decoder(Four).decode
    while True:
        take(decode(receive()).number)


def main() -> None:
    """One role."""
    match sys.argv[1:]:
        case ["serve", publishing, frames]:
            pass_on(publishing, frames)
        case ["publish", variant, publishing, _]:
            publish(variant, publishing)
        case ["read", variant, _, frames]:
            read(variant, frames)


if __name__ == "__main__":
    main()
