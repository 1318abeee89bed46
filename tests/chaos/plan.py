"""Who takes part in a chaos run, and what happens to them when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mycelium.transport.addresses import StoreAddress


@dataclass(frozen=True)
class PublisherPlan:
    """A publishing process. Without an outbox it counts what it has flushed, with one what ``publish`` returned for."""

    name: str
    count: int
    lanes: int
    outbox: bool


@dataclass(frozen=True)
class ReaderPlan:
    """A reading process. ``slow``: as long as publishing goes on it takes a hundredth of what comes."""

    name: str
    pattern: str
    durable: str | None = None
    group: str | None = None
    slow: bool = False
    audits: bool = False

    @property
    def account(self) -> str:
        """What the books call it."""
        return self.durable or self.group or self.name

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
        store: where the broker is.
        publishers, readers: the processes.
        broker_kills: how often the broker is killed.
        stop_seconds: how long a reader is stopped.
    """

    directory: Path
    store: StoreAddress
    publishers: tuple[PublisherPlan, ...]
    readers: tuple[ReaderPlan, ...]
    broker_kills: int
    stop_seconds: float

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
            StoreAddress(**values["store"]),
            tuple(PublisherPlan(**publisher) for publisher in values["publishers"]),
            tuple(ReaderPlan(**reader) for reader in values["readers"]),
            values["broker_kills"],
            values["stop_seconds"],
        )

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
        ReaderPlan("all", "chaos.>", durable="all", audits=True),
        ReaderPlan("wild", "chaos.*.3", durable="wild"),
        ReaderPlan("one", "chaos.p0.*", durable="one"),
        ReaderPlan("exact", "chaos.p3.7", durable="exact"),
        ReaderPlan("slow", "chaos.*.5", durable="slow", slow=True),
        ReaderPlan("member1", "chaos.>", group="group"),
        ReaderPlan("member2", "chaos.>", group="group"),
        ReaderPlan("forgetful", "chaos.p2.>"),
    )
    return publishers, readers


def events(plan: Plan) -> Iterator[tuple[float, str, str]]:
    """What happens at which part of the messages published: ``(part, what, to whom)``. In order."""
    found = [(0.08 + 0.8 * kill / plan.broker_kills, "kill", "broker") for kill in range(plan.broker_kills)]
    victims = [publisher.name for publisher in plan.publishers] + [reader.name for reader in plan.readers]
    found += [(0.05 + 0.85 * place / len(victims), "kill", name) for place, name in enumerate(victims)]
    found.append((0.5, "stop", "wild"))
    yield from sorted(found)
