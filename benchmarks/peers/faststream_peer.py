"""FastStream over its NATS broker and a real nats-server: the typed layer that users of NATS take.

Settings:

- Its own way of types and bytes: a pydantic model, JSON, and a handler that gets the model. That is what its pages show
  and what it does by itself.
- Without its log (``logger=None``), which has a line for each message received by default: nobody who wants a rate
  keeps it.
- One worker, so that messages are handled in their order, which is the default.
- NATS as in ``nats_peer``: no limit on what waits that is ever met (FastStream takes 0 for its default, half a million
  messages, beyond which it throws away), and a round trip at the end.
"""

from __future__ import annotations

import asyncio
import sys

from faststream.nats import NatsBroker
from pydantic import BaseModel

from benchmarks.peers.roles import Tally, serve_publishing_async

SUBJECT = "bench.0"

NO_LIMIT = 1 << 40


class Four(BaseModel):
    """The same four integers, as FastStream's users write them."""

    lane: int
    number: int
    low: int
    high: int


async def publish(url: str) -> None:
    """One ``publish`` for each message."""
    broker = NatsBroker(url, logger=None)
    await broker.start()
    put = broker.publisher(SUBJECT).publish
    connection = broker.connection

    async def send(numbers: range) -> None:
        for number in numbers:
            await put(Four(lane=0, number=number, low=number - 1, high=number + 1))
        await connection.flush(60)

    await serve_publishing_async(send)
    await broker.stop()


async def read(url: str) -> None:
    """A typed handler."""
    tally = Tally()
    take = tally.take
    broker = NatsBroker(url, logger=None)

    async def receive(message: Four) -> None:
        take(message.number)

    broker.subscriber(SUBJECT, pending_msgs_limit=NO_LIMIT, pending_bytes_limit=NO_LIMIT)(receive)
    await broker.start()
    tally.serve()
    await asyncio.Event().wait()


if __name__ == "__main__":
    role, _, server = sys.argv[1:]
    asyncio.run(publish(server) if role == "publish" else read(server))
