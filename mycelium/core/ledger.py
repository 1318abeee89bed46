"""The books: for every stream and every subscription, published = delivered + dropped by cause + queued.

Two sides are counted apart. The publisher's side knows how far its sequence has come; the reader's
side counts what it handed to the handler and what it dropped, with the cause. A route is one stream
as one subscription sees it; it balances when both sides agree. What a balance does not need is not
derived from the other side: a message that vanishes shows up as ``missing``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class Cause:
    """Why a message was dropped. Names, not an enum, since queue policies and adapters add theirs."""

    CLOSED = "subscription closed"
    CANCELLED = "publish cancelled"
    QUEUE = "queue policy "
    """Followed by the policy's name."""
    HANDLER = "handler error, dead letter"
    DECODE = "decode error"
    LOST = "lost in transport"
    EXPIRED = "no longer kept by the store"


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One stream as one subscription sees it.

    Args:
        topic, source, epoch: the stream.
        subscription: the reader's name and pattern.
        published: messages published while the subscription was attached.
        delivered: messages handed to the reader.
        dropped: messages dropped, by cause.
        queued: messages waiting for the reader.
    """

    topic: str
    source: str
    epoch: int
    subscription: str
    published: int
    delivered: int
    dropped: Mapping[str, int]
    queued: int

    @property
    def missing(self) -> int:
        """Messages that are not accounted for. 0 in a balanced book."""
        return self.published - self.delivered - sum(self.dropped.values()) - self.queued


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One stream at its publisher.

    Args:
        topic, source, epoch: the stream.
        type_name: the contract's name.
        published: messages published.
        unread: those of them that no subscription was attached for.
    """

    topic: str
    source: str
    epoch: int
    type_name: str
    published: int
    unread: int


@dataclass(frozen=True, slots=True)
class IntakeEntry:
    """What a service read from outside the fabric.

    Args:
        service, name: whose intake.
        read: things read.
        accepted: those that became messages or state.
        ignored: those that are rightly not for this service, by cause.
        refused: bad ones, by cause.
    """

    service: str
    name: str
    read: int
    accepted: int
    ignored: Mapping[str, int]
    refused: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Things read that are not accounted for. 0 in a balanced book."""
        return self.read - self.accepted - sum(self.ignored.values()) - sum(self.refused.values())


@dataclass(frozen=True, slots=True)
class SubscriptionTotals:
    """What one subscription has seen of all its streams."""

    published: int = 0
    delivered: int = 0
    dropped: int = 0
    queued: int = 0

    def __add__(self, entry: RouteEntry) -> SubscriptionTotals:
        return SubscriptionTotals(
            self.published + entry.published,
            self.delivered + entry.delivered,
            self.dropped + sum(entry.dropped.values()),
            self.queued + entry.queued,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The books of a process at one moment."""

    streams: tuple[StreamEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    intakes: tuple[IntakeEntry, ...] = ()
    frames_refused: Mapping[str, int] = field(default_factory=dict)
    """Frames that could not be read, by cause. Their messages are missed, and counted, as holes in their streams."""
    unconfirmed: int = 0
    """Messages that the broker has not confirmed: not published yet, as far as anyone else can know."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Messages that the broker will not take, by cause."""

    @property
    def balanced(self) -> bool:
        """Whether every message and everything read is accounted for."""
        return self.missing == 0

    @property
    def missing(self) -> int:
        """Messages and things read that are not accounted for, a repeated one as much as a vanished one."""
        return sum(abs(entry.missing) for entry in self.routes) + sum(abs(entry.missing) for entry in self.intakes)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages dropped, by cause, over all routes."""
        return _sum(entry.dropped for entry in self.routes)

    @property
    def subscriptions(self) -> Mapping[str, SubscriptionTotals]:
        """The routes of each subscription added up, by its name."""
        totals: dict[str, SubscriptionTotals] = {}
        for route in self.routes:
            totals[route.subscription] = totals.get(route.subscription, SubscriptionTotals()) + route
        return MappingProxyType(dict(sorted(totals.items())))

    @property
    def published(self) -> Mapping[str, int]:
        """Messages published, by contract name."""
        return _sum({entry.type_name: entry.published} for entry in self.streams)

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.streams + other.streams,
            self.routes + other.routes,
            self.intakes + other.intakes,
            _sum((self.frames_refused, other.frames_refused)),
            self.unconfirmed + other.unconfirmed,
            _sum((self.refused, other.refused)),
        )


def _sum(parts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    totals: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            totals[name] = totals.get(name, 0) + number
    return MappingProxyType(dict(sorted(totals.items())))


_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(slots=True)
class Tally:
    """A counter by cause. Its total is kept by whoever counts the other side."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, cause: str, number: int = 1) -> None:
        """Count ``number`` more under ``cause``."""
        self.counts[cause] = self.counts.get(cause, 0) + number

    def frozen(self) -> Mapping[str, int]:
        """A copy that does not change."""
        if not self.counts:
            return _NONE  # so it is for nearly all of thousands of routes
        return MappingProxyType(dict(sorted(self.counts.items())))
