"""What a host and its services tell of themselves, as figures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.observe.figures import Figures, Labels
from mycelium.service import Host, NoSettings, Placement, Retry, Service, handles
from mycelium.service.figures import tell_host
from mycelium.service.host import HostStatistics
from tests.unit.transport.stores import until


class Number(Message, type_id=1, topic="numbers.{lane}"):
    lane: str
    value: int


@dataclass(frozen=True)
class Part:
    name: str
    done: int
    how: str = "well"


@dataclass(frozen=True)
class Own:
    numbers: int = 7
    mean_ns: int = 2_500_000_000
    is_odd: bool = True
    text: str = "not a number"
    causes: Mapping[str, int] = field(default_factory=lambda: {"a": 1, "b": 2})
    pairs: tuple[tuple[str, int], ...] = (("c", 3),)
    parts: tuple[Part, ...] = (Part("first", 4), Part("second", 5))
    nothing: None = None


class Source(Service[NoSettings]):
    name = "source"
    publishes = (Number,)
    done: ClassVar[asyncio.Event]

    async def run(self) -> None:
        intake = self.intake("file")
        intake.accept(5)
        intake.ignore("blank", 2)
        intake.refuse("odd", "line 1", "3")
        for value in range(10):
            await self.publish(Number("ab"[value % 2], value))
        self.done.set()
        await self.stopping.wait()

    def statistics(self) -> Own:
        return Own()


class Reader(Service[NoSettings]):
    name = "reader"
    failing: ClassVar[bool] = False
    hold: ClassVar[asyncio.Event]

    @handles(Number, retry=Retry(attempts=1))
    async def on_number(self, number: Number) -> None:
        if number.value == 9:
            await self.hold.wait()
            raise ValueError("nine")

    def statistics(self) -> object:
        raise RuntimeError("a fault of its own")


def told(statistics: HostStatistics, figures: Figures | None = None) -> dict[str, dict[Labels, float]]:
    figures = figures if figures is not None else Figures()
    tell_host(figures, statistics)
    return {name.removeprefix("mycelium_"): family.values() for name, family in figures.families.items()}


async def test_a_host_tells_what_it_and_its_services_have_done() -> None:
    Source.done, Reader.hold = asyncio.Event(), asyncio.Event()
    host = Host([Placement(kind, NoSettings()) for kind in (Source, Reader)], clock=SystemClock())
    before = told(host.statistics())
    assert before["ready"] == {("source",): 0, ("reader",): 0}
    assert not any(name.startswith("service_") for name in before)
    running = asyncio.create_task(host.run())
    await until(lambda: bool(host.health()) and host.health()[1].handled == 9)
    figures = Figures()
    found = told(host.statistics(), figures)
    histogram = figures.families["mycelium_delivery_latency_seconds"].histograms["reader.on_number",]
    assert histogram.count == 9
    Reader.hold.set()
    await until(lambda: host.health()[1].dead_letters == 1)
    after = told(host.statistics())
    host.drain()
    await running

    assert found["ready"] == {("source",): 1, ("reader",): 1}
    assert found["health"]["source", "running"] == 1
    assert sum(found["health"].values()) == 2
    assert len(found["health"]) == 14
    assert found["published_messages"] == {("source", "Number"): 10}
    assert found["unread_messages"] == {("source", "Number"): 0}
    assert found["delivered_messages"] == {("reader.on_number",): 10}
    assert found["waiting_messages"] == {("reader.on_number",): 0}
    assert found["queued_messages"] == {("reader",): 0}
    assert found["queue_capacity_messages"] == {("reader",): 1024}
    assert found["ledger_missing_messages"] == {(): 0}
    assert found["unconfirmed_messages"] == {(): 0}
    assert found["intake_accepted"] == {("source", "file"): 5}
    assert found["intake_ignored"] == {("source", "file", "blank"): 2}
    assert found["intake_refused"] == {("source", "file", "odd"): 1}
    # Given up afterwards: it was delivered all the same, and the counter does not fall.
    assert after["delivered_messages"]["reader.on_number",] == 10
    assert after["dropped_messages"]["reader.on_number", "handler error, dead letter"] == 1
    assert (after["dead_letters"]["reader",], after["handled_messages"]["reader",]) == (1, 10)


async def test_a_service_tells_figures_of_its_own() -> None:
    Source.done, Reader.hold = asyncio.Event(), asyncio.Event()
    host = Host([Placement(kind, NoSettings()) for kind in (Source, Reader)], clock=SystemClock())
    running = asyncio.create_task(host.run())
    await until(lambda: bool(host.health()) and Source.done.is_set())
    found = told(host.statistics())
    Reader.hold.set()
    host.drain()
    await running
    own = {name.removeprefix("service_"): values for name, values in found.items() if name.startswith("service_")}
    assert own == {
        "numbers": {("source", ""): 7},
        "mean_seconds": {("source", ""): 2.5},
        "is_odd": {("source", ""): 1},
        "causes": {("source", "a"): 1, ("source", "b"): 2},
        "pairs": {("source", "c"): 3},
        "parts_done": {("source", "first"): 4, ("source", "second"): 5},
    }
