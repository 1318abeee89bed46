"""redis-py with hiredis and a real redis-server: publish and subscribe, which keep nothing.

Settings:

- Publishes go in pipelines of 1,024 without a transaction: who can batch, does; ours does the same.
- Blocking sockets without an event loop: quicker than ``redis.asyncio``.
- RESP2: with RESP3 each message passes one more handler of redis-py, which formats it for a log.
- No limit on the output buffer of a subscriber (``client-output-buffer-limit pubsub 0 0 0``, ``servers.REDIS``): at
  its limit redis throws the reader out. Nothing is saved to disk, as publish and subscribe never are.
"""

from __future__ import annotations

import sys

import msgspec
import redis

from benchmarks.peers.message import BATCH, Four, four
from benchmarks.peers.roles import Tally, serve_publishing

CHANNEL = "bench.0"


def publish(url: str) -> None:
    """A pipeline for each batch."""
    client = redis.Redis.from_url(url, protocol=3)
    encode = msgspec.msgpack.Encoder().encode

    def send(numbers: range) -> None:
        pipeline = client.pipeline(transaction=False)
        for start in range(numbers.start, numbers.stop, BATCH):
            for number in range(start, min(start + BATCH, numbers.stop)):
                pipeline.publish(CHANNEL, encode(four(number)))
            pipeline.execute()

    serve_publishing(send)


def read(url: str) -> None:
    """``listen``, which gives message by message."""
    subscription = redis.Redis.from_url(url, protocol=3).pubsub()
    subscription.subscribe(CHANNEL)
    tally = Tally()
    take, decode = tally.take, msgspec.msgpack.Decoder(Four).decode
    messages = subscription.listen()
    next(messages)  # that it is subscribed
    tally.serve()
    for message in messages:
        take(decode(message["data"]).number)


if __name__ == "__main__":
    role, _, server = sys.argv[1:]
    if role == "publish":
        publish(server)
    else:
        read(server)
