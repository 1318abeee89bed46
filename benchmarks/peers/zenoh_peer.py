"""eclipse-zenoh: through a router, and from peer to peer.

Settings:

- ``router``: a third process with a session in mode ``router``, and two clients of it, as everyone else here has a
  server in the middle. ``direct``: the reader listens and the publisher connects.
- ``Reliability.RELIABLE`` and ``CongestionControl.BLOCK``: the publisher waits where zenoh would throw away, since we
  compare only what arrives. Only where nothing moves for 5 s does zenoh close the link (``wait_before_close``).
- Not ``express``, so that zenoh gathers messages into batches as it does by itself.
- A callback rather than a channel: no queue between zenoh's thread and ours. We saw no difference that stood out.
- tcp on loopback, no scouting: nobody else is to be found.
"""

from __future__ import annotations

import json
import sys

import msgspec
import zenoh

from benchmarks.peers.message import Four, four
from benchmarks.peers.roles import Tally, serve_publishing

KEY = "bench/0"


def _open(mode: str, *, listen: str = "", connect: str = "") -> zenoh.Session:
    config = zenoh.Config()
    config.insert_json5("mode", json.dumps(mode))
    config.insert_json5("listen/endpoints", json.dumps([listen] if listen else []))
    config.insert_json5("connect/endpoints", json.dumps([connect] if connect else []))
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "false")
    return zenoh.open(config)


def route(endpoint: str) -> None:
    """The process in the middle. All its work is done in zenoh's own threads."""
    with _open("router", listen=endpoint):
        print("ready", flush=True)
        sys.stdin.read()


def publish(variant: str, endpoint: str) -> None:
    """One ``put`` for each message."""
    encode = msgspec.msgpack.Encoder().encode
    with (
        _open("client" if variant == "router" else "peer", connect=endpoint) as session,
        session.declare_publisher(
            KEY,
            congestion_control=zenoh.CongestionControl.BLOCK,
            reliability=zenoh.Reliability.RELIABLE,
            express=False,
        ) as publisher,
    ):
        put = publisher.put

        def send(numbers: range) -> None:
            for number in numbers:
                put(encode(four(number)))

        serve_publishing(send)


def read(variant: str, endpoint: str) -> None:
    """A callback for each message, in zenoh's thread."""
    tally = Tally()
    take, decode = tally.take, msgspec.msgpack.Decoder(Four).decode

    def receive(sample: zenoh.Sample) -> None:
        take(decode(sample.payload.to_bytes()).number)

    session = _open("client", connect=endpoint) if variant == "router" else _open("peer", listen=endpoint)
    with session, session.declare_subscriber(KEY, receive):
        tally.serve_here()


def main() -> None:
    """One role."""
    match sys.argv[1:]:
        case ["serve", endpoint]:
            route(endpoint)
        case ["publish", variant, endpoint]:
            publish(variant, endpoint)
        case ["read", variant, endpoint]:
            read(variant, endpoint)


if __name__ == "__main__":
    main()
