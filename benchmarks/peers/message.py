"""What every peer sends."""

from __future__ import annotations

from mycelium import Message

BATCH = 1024
"""Messages that are handed over at once by those who can: as many as a batch of our own readers has at most."""


class Four(Message, type_id=900, topic="bench.{lane}"):
    """Four integers. All peers encode this very class, with msgspec's msgpack codec, unless they have their own way."""

    lane: int
    number: int
    low: int
    high: int


def four(number: int) -> Four:
    """The message of this number. Its other fields differ from one to the next, as real ones do."""
    return Four(0, number, number - 1, number + 1)
