"""Who takes part in a chaos run, and what happens to them when."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mycelium.transport.addresses import StoreAddress
from mycelium.transport.keyring import Credentials, Keyring

Event = tuple[float, str, str, float]


@dataclass(frozen=True)
class PublisherPlan:
    """A publishing process. Without an outbox it counts what it has flushed, with one what ``publish`` returned for."""

    name: str
    count: int
    lanes: int
    outbox: bool


@dataclass(frozen=True)
class ReaderPlan:
    """A reading process.

    ``slow``: as long as publishing goes on it takes a hundredth of what comes. ``thinks``: so many seconds pass
    between getting a batch and noting that it is done.
    """

    name: str
    pattern: str
    durable: str | None = None
    group: str | None = None
    slow: bool = False
    audits: bool = False
    thinks: float = 0.0

    @property
    def account(self) -> str:
        """What the books call it."""
        return self.durable or self.group or f"{self.name}.events"

    @property
    def service(self) -> str:
        """Whose key it has, where there are keys. The members of a group are of one service."""
        return (self.group or self.name).partition(".")[0]

    def wants(self, publisher: int, lane: int) -> bool:
        """Whether a stream is for it."""
        tokens = self.pattern.split(".")
        return all(
            token in ("*", ">", value)
            for token, value in zip(tokens, ("chaos", f"p{publisher}", str(lane)), strict=False)
        )


@dataclass(frozen=True)
class Plan:
    """A run.

    Args:
        directory: where everything is.
        stores: where the broker is; or every publisher's own store, in the order of the publishers.
        publishers, readers: the processes.
        has_keys: whether the broker asks for keys, which are in the directory then.
        events: what happens at which part of the messages published: ``(part, what, to whom, how much)``, in order.
            ``kill`` it and start it again, ``stop`` it for so many seconds; to a host, ``partition`` it for so many
            seconds, ``lose`` such a share of its packets or ``delay`` them so many seconds until it is told 0,
            ``move`` it to another address.
    """

    directory: Path
    stores: tuple[StoreAddress, ...]
    publishers: tuple[PublisherPlan, ...]
    readers: tuple[ReaderPlan, ...]
    events: tuple[Event, ...]
    has_keys: bool = False

    @property
    def store(self) -> StoreAddress:
        """Where the broker is."""
        return self.stores[0]

    @property
    def is_bundled(self) -> bool:
        """Whether every publisher keeps what it publishes itself."""
        return self.store.publish is None

    def own_store(self, publisher: str) -> StoreAddress:
        """The store of a publisher, if each has one."""
        return next(store for store in self.stores if store.name == publisher)

    @property
    def total(self) -> int:
        """Messages to publish."""
        return sum(publisher.count for publisher in self.publishers)

    def save(self) -> Path:
        """Write it where the processes find it."""
        path = self.directory / "plan.json"
        path.write_text(json.dumps({**asdict(self), "directory": str(self.directory)}))
        return path

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read it back."""
        values = json.loads(path.read_text())
        return cls(
            Path(values["directory"]),
            tuple(StoreAddress(**store) for store in values["stores"]),
            tuple(PublisherPlan(**publisher) for publisher in values["publishers"]),
            tuple(ReaderPlan(**reader) for reader in values["readers"]),
            tuple((part, what, name, amount) for part, what, name, amount in values["events"]),
            values["has_keys"],
        )

    @property
    def keyring(self) -> Keyring:
        """The keys, where there are some."""
        return Keyring(self.directory / "keys")

    def credentials(self, name: str) -> Credentials | None:
        """Those of a service or operator; None without keys."""
        return self.keyring.credentials(name, time.time()) if self.has_keys else None

    @property
    def keys(self) -> Callable[[str], Credentials] | None:
        """What a fabric wants to know of them."""
        return (lambda name: self.keyring.credentials(name, time.time())) if self.has_keys else None

    def progress(self, name: str) -> Path:
        """The counter of a publisher."""
        return self.directory / f"{name}.progress"

    def seen(self, reader: ReaderPlan) -> Path:
        """What a reader, or its group, has handled."""
        return self.directory / f"{reader.account}.seen"

    def audit(self, publisher: str) -> Path:
        """Which of a publisher's messages the auditing reader has seen."""
        return self.directory / f"{publisher}.audit"

    @property
    def published_flag(self) -> Path:
        """There when everything is published."""
        return self.directory / "published"


def participants(messages: int) -> tuple[tuple[PublisherPlan, ...], tuple[ReaderPlan, ...]]:
    """Four publishers and eight readers."""
    publishers = tuple(PublisherPlan(f"p{n}", messages // 4, lanes=8, outbox=n >= 2) for n in range(4))
    readers = (
        ReaderPlan("all", "chaos.>", durable="all.events", audits=True),
        ReaderPlan("wild", "chaos.*.3", durable="wild.events"),
        ReaderPlan("one", "chaos.p0.*", durable="one.events", thinks=0.4),
        ReaderPlan("exact", "chaos.p3.7", durable="exact.events"),
        ReaderPlan("slow", "chaos.*.5", durable="slow.events", slow=True),
        ReaderPlan("member1", "chaos.>", group="team.events"),
        ReaderPlan("member2", "chaos.>", group="team.events"),
        ReaderPlan("forgetful", "chaos.p2.>"),
    )
    return publishers, readers


def kills(plan: Plan, broker_kills: int, stop_seconds: float) -> tuple[Event, ...]:
    """Everyone is killed once, the broker so often, and one reader is stopped for a while."""
    found: list[Event] = [(0.08 + 0.8 * kill / broker_kills, "kill", "broker", 0) for kill in range(broker_kills)]
    victims = [publisher.name for publisher in plan.publishers] + [reader.name for reader in plan.readers]
    found += [(0.05 + 0.85 * place / len(victims), "kill", name, 0) for place, name in enumerate(victims)]
    found.append((0.5, "stop", "wild", stop_seconds))
    return tuple(sorted(found))


def bad_network() -> tuple[Event, ...]:
    """What a network between hosts does on its worst day."""
    return (
        (0.05, "lose", "broker", 0.05),
        (0.3, "lose", "broker", 0.0),
        (0.32, "delay", "broker", 0.05),
        (0.5, "delay", "broker", 0.0),
        (0.55, "partition", "broker", 20.0),
        (0.75, "move", "broker", 0),
    )
