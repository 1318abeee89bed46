"""What is published while processes die."""

from __future__ import annotations

from mycelium import Message


class Event(Message, type_id=900, topic="chaos.{publisher}.{lane}"):
    """One message. ``number`` counts all of its publisher's, over its restarts."""

    publisher: str
    lane: str
    number: int
    filling: bytes
