"""The bus: where a service instance gets its publishers and subscribers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from mycelium.bus.clock import SystemClock
from mycelium.bus.publisher import Publisher
from mycelium.bus.subscriber import Subscriber
from mycelium.core.clock import Clock
from mycelium.core.delivery.control import MAX_NAME
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import ClosedError, ContractError
from mycelium.core.ledger import Ledger
from mycelium.core.message import Message, contract_of
from mycelium.core.policy import QueuePolicy
from mycelium.core.topics import Pattern, check_topic
from mycelium.transport.exchange import Exchange, Network
from mycelium.transport.queues import DEFAULT_CAPACITY
from mycelium.transport.remote import PLAIN, Reading
from mycelium.transport.streams import Stream
from mycelium.transport.subscriptions import Interest

M = TypeVar("M", bound=Message)


class Bus:
    """Typed publish and subscribe for one service instance, in one event loop.

    Args:
        name: of the service instance; one topic segment. It is the source of what is published here.
        network: buses with the same network hear one another, in one event loop or in several threads.
            Without one, the bus is alone.
        clock: where publish times come from.

    Raises:
        TopicError: the name is no topic segment.
    """

    def __init__(self, name: str, *, network: Network | None = None, clock: Clock | None = None) -> None:
        self.name: str = check_topic(name)
        self.network: Network = network if network is not None else Network()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self._exchange: Exchange | None = None
        self._epoch = 0
        # One per class: two publishers of one class continue one numbering.
        self._streams: dict[type[Message], dict[Any, Stream]] = {}

    async def __aenter__(self) -> Self:
        exchange = self.network.exchange()
        exchange.acquire()
        self._epoch = self.network.next_epoch(self.name, self.clock.time_ns())
        try:
            exchange.begin(self.name, self._epoch)
        except BaseException:
            await exchange.release(wait=False)
            raise
        self._exchange = exchange
        self._streams = {}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exchange, self._exchange = self._opened(), None
        await exchange.release(wait=kind is None)

    def _opened(self) -> Exchange:
        if self._exchange is None:
            raise ClosedError(f"bus {self.name} (use it inside 'async with')")
        return self._exchange

    def publisher(self, message_type: type[M]) -> Publisher[M]:
        """A publisher of one message class. Close it, or use it as an async context manager.

        Raises:
            ContractError: the class has no type id and topic.
            ClosedError: the bus is not open.
        """
        contract = contract_of(message_type)
        exchange = self._opened()
        exchange.publishing(self.name)
        return Publisher(
            contract,
            exchange,
            self.clock.time_ns,
            self.name,
            self._epoch,
            self._streams.setdefault(message_type, {}),
        )

    def subscriber(
        self,
        message_type: type[M],
        pattern: str | None = None,
        *,
        policy: QueuePolicy | str = QueuePolicy.BLOCK,
        capacity: int = DEFAULT_CAPACITY,
        name: str | None = None,
        start: Start | str | datetime = Start.NEW,
        durable: str | None = None,
        group: str | None = None,
        finish_within: float = 30.0,
    ) -> Subscriber[M]:
        """A subscriber of one message class, wired when it is entered with ``async with``.

        Where to begin, durable names and groups are a matter of stores. Without one (all in one process, nothing
        kept) there is nothing to begin with and nothing to come back to: they have no effect then.

        Args:
            message_type: the class to read.
            pattern: which topics, all of the class's template by default.
            policy: what happens when the queue is full.
            capacity: messages that the queue holds, from 1.
            name: what ledger and errors call it; bus and pattern by default.
            start: where to begin when there is no earlier place: ``new``, ``earliest``, ``last_value``, or a time.
            durable: a name under which the store keeps how far it is. It goes on there when it comes back: each
                message at least once. A message counts as done when the next one is asked for.
            group: a name that several subscribers share: each stream goes to one of them, in order. When that one
                is gone, or does not get on, another goes on where it was. A group is durable.
            finish_within: for a group: seconds without getting on after which a stream goes to another member.

        Raises:
            ContractError: the class has no type id and topic, or no topic of its template can match the pattern.
            TopicError: the pattern is not grammatical.
            ValueError: the capacity is below 1, the policy or start unknown, durable and group are both given, or
                either with a policy other than ``block``.
            ClosedError: the bus is not open.
        """
        wish = interest(message_type, pattern)
        shown = name or durable or group or f"{self.name}:{wish.pattern.text}"
        account = durable or group or shown
        reading = _reading(start, durable, group, finish_within)
        return self._subscriber([replace(wish, name=account)], shown, policy, capacity, reading)

    def mailbox(
        self,
        interests: Iterable[Interest],
        name: str,
        *,
        policy: QueuePolicy | str = QueuePolicy.BLOCK,
        capacity: int = DEFAULT_CAPACITY,
        reading: Reading = PLAIN,
    ) -> Subscriber[Any]:
        """One subscriber of several message classes, which come in the order in which they were published.

        Args:
            interests: from :func:`interest`; each with the name that ledger and errors call it.
            name: of the mailbox as a whole.
            policy: what happens when the queue is full.
            capacity: messages that the queue holds, from 1.
            reading: where to begin, and whether stores keep how far it is, each interest under its own name.

        Raises:
            ValueError: the capacity is below 1, the policy unknown, or not ``block`` for what is durable.
            ClosedError: the bus is not open.
        """
        return self._subscriber(list(interests), name, policy, capacity, reading)

    def _subscriber(
        self, interests: list[Interest], name: str, policy: QueuePolicy | str, capacity: int, reading: Reading
    ) -> Subscriber[Any]:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: a queue holds at least 1 message")
        if (reading.durable or reading.group) and policy != QueuePolicy.BLOCK:
            raise ValueError(f"policy {policy!r}: what is durable drops nothing; choose 'block'")
        return Subscriber(interests, self._opened(), name, QueuePolicy(policy), capacity, reading, self.name)

    async def readers_there(self, names: Iterable[str], seconds: float) -> frozenset[str]:
        """Wait until readers in other processes have joined where this one publishes.

        Args:
            names: theirs, as the ledger calls them.
            seconds: how long at most.

        Returns:
            Those that have not come in time.
        """
        return await self._opened().readers_there(names, seconds)

    def ledger(self) -> Ledger:
        """The books of the whole network."""
        return self.network.ledger()


def _reading(start: Start | str | datetime, durable: str | None, group: str | None, finish_within: float) -> Reading:
    if durable is not None and group is not None:
        raise ValueError(f"durable {durable!r} and group {group!r}: give one of them; a group is durable")
    for name in (durable, group):
        if name is not None and not 1 <= len(name.encode()) <= MAX_NAME:
            raise ValueError(f"name {name!r}: 1 to {MAX_NAME} bytes are accepted")
    if finish_within <= 0:
        raise ValueError(f"finish_within {finish_within}: must be more than 0 seconds")
    time_ns = 0
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ValueError(f"start {start}: a time needs a time zone")
        time_ns, start = round(start.timestamp() * 1_000_000) * 1_000, Start.TIME
    elif start == Start.TIME:
        raise ValueError("start 'time': give the time itself, as a datetime")
    return Reading(Start(start), time_ns, durable is not None, group is not None, round(finish_within * 1e9))


def interest(message_type: type[Message], pattern: str | None = None, name: str = "") -> Interest:
    """What a subscription wants of one message class.

    Args:
        message_type: the class.
        pattern: which topics, all of the class's template by default.
        name: what ledger and errors call it.

    Raises:
        ContractError: the class has no type id and topic, or no topic of its template can match the pattern.
        TopicError: the pattern is not grammatical.
    """
    contract = contract_of(message_type)
    all_topics = contract.topic.pattern
    wanted = Pattern.parse(pattern) if pattern is not None else all_topics
    if not wanted.overlaps(all_topics):
        raise ContractError(f"{contract.name} travels on {contract.topic.text}: no such topic matches {wanted.text!r}")
    return Interest(contract, wanted, name)
