"""What readers want: interests, the subscriptions that hold them, and who wants which topic."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mycelium.core.message import Contract
from mycelium.core.topics import Pattern, TopicTrie
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.streams import Route, Stream

if TYPE_CHECKING:
    from mycelium.transport.inlets import Inlet
    from mycelium.transport.remote import Remote

RouteKey = tuple[int, int, str, int]
"""(source, epoch, topic, type id): what a frame says about its stream."""


class Reader(Protocol):
    """The event loop in which a subscription is read, as the loops that publish see it."""

    loop: asyncio.AbstractEventLoop
    endpoint: str
    inbound_routes: dict[RouteKey, tuple[Route, ...]]

    def listen(self) -> None:
        """Receive frames from the other loops. Runs in this loop."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Interest:
    """What a subscription wants of one contract.

    Args:
        contract: whose messages.
        pattern: on which topics.
        name: what the ledger calls it.
    """

    contract: Contract
    pattern: Pattern
    name: str

    def wants(self, stream: Stream) -> bool:
        """Whether it wants a stream's messages."""
        return stream.contract.type_id == self.contract.type_id and self.pattern.matches(stream.id.topic)


@dataclass(eq=False)
class Subscription:
    """One queue and all that comes into it, in the order in which it was published. Read in the loop of ``reader``."""

    reader: Reader
    interests: tuple[Interest, ...]
    queue: BoundedQueue
    routes: list[Route] = field(default_factory=list)
    inlets: list[Inlet] = field(default_factory=list)
    """Its readers at stores."""
    remote: Remote | None = None
    """How its service reaches these."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is detached and all that was published for it before has come in."""

    @property
    def all_routes(self) -> list[Route]:
        """Its routes, from whatever path."""
        return [*self.routes, *(route for inlet in self.inlets for route in inlet.all_routes)]

    @property
    def has_arrived(self) -> bool:
        """Whether everything has come in that was published before it was detached."""
        return all(route.has_arrived for route in self.routes) and all(inlet.ended for inlet in self.inlets)


Wish = tuple[Subscription, Interest]
"""A subscription, and for which of its interests."""


class Wishes:
    """Who wants which topics, by type id."""

    def __init__(self) -> None:
        self._tries: defaultdict[int, TopicTrie[Wish]] = defaultdict(TopicTrie)
        self._held: dict[Subscription, list[Wish]] = {}

    def add(self, subscription: Subscription) -> None:
        """Take up what a subscription wants."""
        wishes = [(subscription, interest) for interest in subscription.interests]
        self._held[subscription] = wishes
        for wish in wishes:
            self._tries[wish[1].contract.type_id].add(wish[1].pattern, wish)

    def __contains__(self, subscription: Subscription) -> bool:
        return subscription in self._held

    def remove(self, subscription: Subscription) -> None:
        """Take :meth:`add` back."""
        for wish in self._held.pop(subscription):
            self._tries[wish[1].contract.type_id].remove(wish[1].pattern, wish)

    def match(self, stream: Stream) -> list[Wish]:
        """Who wants a stream's messages, the oldest subscription first."""
        return self._tries[stream.contract.type_id].match(stream.id.topic)
