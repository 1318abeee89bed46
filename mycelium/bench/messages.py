"""What is sent to and fro to measure."""

from __future__ import annotations

from mycelium.core.message import Message


class Sample(Message, type_id=64_001, topic="bench.{lane}"):
    """Four integers, as many a message is: small, and decoded whole.

    Args:
        lane: who publishes; one of the ends.
        number: of the message in its run, from 0.
        first: anything.
        second: anything.
    """

    lane: int
    number: int
    first: int
    second: int
