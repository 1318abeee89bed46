"""nats-py with a real nats-server: core NATS, which keeps nothing.

Settings:

- One ``publish`` for each message: nats-py gathers what is written and sends it at 2 MiB, or when its flusher task
  gets its turn; there is no call for several. At the end ``flush``, a round trip, as ours waits for confirms.
- A callback rather than ``async for``: nats-py's iterator makes a task for each message; with it
  the reader took five times the CPU.
- No limit on what waits in the subscription (``pending_msgs_limit`` and ``pending_bytes_limit`` 0), and 1 GiB and a
  minute in the server before a reader counts as slow (``servers.NATS``): at its limits NATS throws away, or throws the
  reader out, and we compare only what arrives.
- Subjects are checked (``skip_subject_validation`` stays off): nats-py recommends it, and so do ours.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import nats
from nats.aio.msg import Msg

from benchmarks.peers.message import Four, four
from benchmarks.peers.roles import Tally, serve_publishing_async

SUBJECT = "bench.0"


async def publish(url: str) -> None:
    """One ``publish`` for each message."""
    client = await nats.connect(url)
    encode, put = msgspec.msgpack.Encoder().encode, client.publish

    async def send(numbers: range) -> None:
        for number in numbers:
            await put(SUBJECT, encode(four(number)))
        await client.flush(60)

    await serve_publishing_async(send)
    await client.close()


async def read(url: str) -> None:
    """A callback for each message."""
    tally = Tally()
    take, decode = tally.take, msgspec.msgpack.Decoder(Four).decode

    async def receive(message: Msg) -> None:
        take(decode(message.data).number)

    client = await nats.connect(url)
    await client.subscribe(SUBJECT, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0)
    await client.flush()
    tally.serve()
    await asyncio.Event().wait()


if __name__ == "__main__":
    role, _, server = sys.argv[1:]
    asyncio.run(publish(server) if role == "publish" else read(server))
