"""What this task is doing: which message it handles, and in which span. For logs, and for what it publishes."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mycelium.core.envelope import source_id
from mycelium.core.trace import MessageId, TraceContext
from mycelium.transport.streams import Item


@dataclass(slots=True)
class OpenSpan:
    """A span that has begun.

    Args:
        context: what its children have for a parent.
        cause: the message that is being handled in it, if one is.
        error: what has gone wrong in it, if anything has.
        events: what happened in it: when, ns since the Unix epoch, and what.
    """

    context: TraceContext
    cause: MessageId | None
    error: str | None = None
    events: list[tuple[int, str]] = field(default_factory=list)


class Handling:
    """What a task that handles messages has in hand. One object for all of them: to set a context variable for each
    message would cost ten times as much.

    Args:
        task: that handles them.
    """

    __slots__ = ("item", "task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task: asyncio.Task[Any] | None = task
        self.item: Item | None = None


HANDLING: ContextVar[Handling | None] = ContextVar("mycelium_handling", default=None)
"""Set in tasks that handle messages, and in those that they make."""


def handled() -> Item | None:
    """The message that this task handles. A task that was made by a handler may outlive the call: it has none."""
    handling = HANDLING.get()
    if handling is None:
        return None
    try:
        return handling.item if handling.task is asyncio.current_task() else None
    except RuntimeError:
        return None  # a thread that a handler has asked to do something


SPAN: ContextVar[OpenSpan | None] = ContextVar("mycelium_span", default=None)
"""The span of the handler of this task, if its message is traced."""


LEFT_OUT: ContextVar[bool] = ContextVar("mycelium_left_out", default=False)
"""Whether this task does a piece of work that was not chosen to be traced: what it publishes begins no trace either."""


def id_of(item: Item) -> MessageId:
    """What identifies a message that somebody reads."""
    stream = item.route.stream.id
    return MessageId(source_id(stream.source_name), stream.epoch, item.sequence, stream.topic)
