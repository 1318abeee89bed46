"""What a service declares about its handlers, and what happens when one fails."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mycelium.core.message import Message
from mycelium.core.policy import QueuePolicy

H = TypeVar("H", bound=Callable[..., Awaitable[None]])

_MARK = "__mycelium_handler__"


class OnFailure(enum.StrEnum):
    """What happens to a message whose handler has failed for the last time."""

    DEAD_LETTER = "dead_letter"
    """It goes to ``_sys.dead.<service>.<handler>`` with its error, and the service goes on."""
    STOP = "stop"
    """It becomes a dead letter too, and the host drains and ends with an error."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a failing handler is called again (exponential back-off with jitter).

    While a handler is tried again, its service handles nothing else of the same mailbox: order is kept.

    Args:
        attempts: calls in all, 1 for no retry.
        wait_initial: seconds before the second call.
        wait_max: seconds between calls at most.
        timeout: seconds from the first call after which no further one is made.
    """

    attempts: int = 3
    wait_initial: float = 0.1
    wait_max: float = 5.0
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class HandlerDeclaration:
    """One handler of a service.

    Args:
        method: its name in the class.
        message_type: what it handles.
        pattern: of which topics; None for all of the class's template.
        policy: None for the service's common mailbox, which keeps all its messages in one order and
            makes publishers wait; otherwise the handler has a queue of its own with this policy.
        capacity: messages that a queue of its own holds.
        retry: how often a failing call is repeated.
        on_failure: what becomes of the message after the last failure.
    """

    method: str
    message_type: type[Message]
    pattern: str | None
    policy: QueuePolicy | None
    capacity: int
    retry: Retry
    on_failure: OnFailure


def handles(
    message_type: type[Message],
    pattern: str | None = None,
    *,
    policy: QueuePolicy | None = None,
    capacity: int = 1024,
    retry: Retry = Retry(),
    on_failure: OnFailure = OnFailure.DEAD_LETTER,
) -> Callable[[H], H]:
    """Declare an async method of a service as the handler of a message class.

    Args:
        message_type: what it handles.
        pattern: which topics, all of the class's template by default.
        policy: None to share the service's mailbox: all messages of the service in one order, and
            publishers wait when it is full. With a policy the handler gets a queue of its own.
        capacity: messages that a queue of its own holds.
        retry: how often and how patiently a failing call is repeated.
        on_failure: what becomes of the message after the last failure.
    """

    def mark(method: H) -> H:
        declared = HandlerDeclaration(method.__name__, message_type, pattern, policy, capacity, retry, on_failure)
        setattr(method, _MARK, declared)
        return method

    return mark


def handlers_of(service_type: type[Any]) -> tuple[HandlerDeclaration, ...]:
    """The handlers that a service class declares, in the order of their definition, base classes first."""
    found: dict[str, HandlerDeclaration] = {}
    for cls in reversed(service_type.__mro__):
        for name, member in vars(cls).items():
            declared = getattr(member, _MARK, None)
            if isinstance(declared, HandlerDeclaration):
                found[name] = declared
    return tuple(found.values())
