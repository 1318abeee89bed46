"""The error tree. Who is at fault decides the branch.

::

    MyceliumError
    ├── UsageError            the program that calls us broke a rule
    │   ├── ContractError         a message class or message breaks its contract
    │   ├── TopicError            a topic, template or pattern is not grammatical
    │   ├── ClosedError           used after it was closed
    │   ├── WouldBlock            a *_nowait call that would have had to wait
    │   └── QueueFullError        a subscription with policy ``error`` overflowed
    ├── WireError             bytes from outside break the format: counted, skipped, never fatal
    ├── AccessError           a peer said what is not its to say: counted, refused, never fatal
    ├── ServiceError          a service failed in a step of its life
    ├── JournalError          what is stored cannot be written or trusted (mycelium.journal.errors)
    ├── RoleError, LossError  a measurement failed, or messages were lost in one (mycelium.bench)
    ├── PathError             a transport failed: address in use, peer gone, time over
    └── ConfigError           a file that a person wrote is wrong: file, key, value, what is accepted

A hole in a sequence is not here: it is normal life in a network and comes as an event
(:mod:`mycelium.core.sequence`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class MyceliumError(Exception):
    """Base of everything this library raises on purpose."""


class UsageError(MyceliumError):
    """The calling program broke a rule of the API."""


class ContractError(UsageError):
    """A message class is declared wrongly, or a message does not fit its contract."""


class TopicError(UsageError):
    """A topic, template or pattern is not grammatical.

    Args:
        text: what was given.
        reason: which rule it breaks, and what would be right.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r}: {reason}")
        self.text = text
        self.reason = reason


class ClosedError(UsageError):
    """The object was closed before this call.

    Args:
        what: the object, as its user knows it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is closed")
        self.what = what


class WouldBlock(UsageError):  # noqa: N818 - the name trio and anyio gave it
    """A ``*_nowait`` call would have had to wait."""


class QueueFullError(UsageError):
    """A subscription with policy ``error`` overflowed; messages are missing at this place.

    Args:
        subscription: the pattern and name of the subscription.
        capacity: how many messages its queue holds.
        missing: how many messages were dropped here.
    """

    def __init__(self, subscription: str, capacity: int, missing: int) -> None:
        super().__init__(
            f"subscription {subscription} overflowed its queue of {capacity}: "
            f"{missing} message(s) are missing here; read faster, raise the capacity or choose another policy"
        )
        self.subscription = subscription
        self.capacity = capacity
        self.missing = missing


class WireError(MyceliumError):
    """Bytes from outside break the wire format.

    Args:
        reason: which rule is broken, with the value found and the value expected.
        offset: where in the frame, in bytes from its start.
    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"at byte {offset}: {reason}")
        self.reason = reason
        self.offset = offset


class PathError(MyceliumError):
    """A transport could not do its work.

    Args:
        endpoint: the address concerned.
        reason: what failed, and what would help.
    """

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class AccessError(MyceliumError):
    """A peer asked for what is not its to have, or said what is not its to say.

    Args:
        cause: which rule is broken, one of few: it is counted by it.
        value: what was asked or said.
    """

    def __init__(self, cause: str, value: str = "") -> None:
        super().__init__(f"{cause}: {value}" if value else cause)
        self.cause = cause
        self.value = value


class ServiceError(MyceliumError):
    """A service failed in a step of its life. The cause is chained.

    Args:
        service: its name.
        step: start, run or stop.
        error: what it raised.
    """

    def __init__(self, service: str, step: str, error: BaseException) -> None:
        super().__init__(f"service {service} failed in {step}: {type(error).__name__}: {error}")
        self.service = service
        self.step = step


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote.

    Args:
        file: the file's path as the user gave it.
        key: dotted path of the entry, ``""`` for the file as a whole.
        message: what is wrong, and what would be accepted.
        value: the offending value, if there is one.
    """

    file: str
    key: str
    message: str
    value: Any = None

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        shown = "" if self.value is None else f" = {self.value!r}"
        return f"{where}{shown}: {self.message}"


class ConfigError(MyceliumError):
    """A configuration, topology or spec is wrong. Carries every problem found, not only the first.

    Args:
        problems: at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Draining(MyceliumError):  # noqa: N818 - it says what goes on, not that something is wrong
    """The host is draining: raised by :meth:`mycelium.service.Service.breathe` inside ``run``. Let it pass."""
