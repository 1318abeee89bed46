"""The message in which a failed one is kept."""

from __future__ import annotations

from mycelium.core.message import Message


class DeadLetter(Message, type_id=65281, topic="_sys.dead.{service}.{handler}"):
    """A message whose handler gave up, with what is needed to look into it and to send it again.

    Args:
        service, handler: who gave up.
        source, epoch, stream, sequence: the id of the message; ``stream`` is its topic.
        type_id: its contract.
        payload: its bytes, a msgpack array of one message.
        attempts: calls of the handler.
        error: the last exception, type and text.
    """

    service: str
    handler: str
    source: str
    epoch: int
    stream: str
    sequence: int
    type_id: int
    payload: bytes
    attempts: int
    error: str
