"""A process says what it does: when it is wired, every second, and once more at its end."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from mycelium.bus.clock import SystemClock
from mycelium.core.message import Message
from mycelium.observe.figures import Figures
from mycelium.observe.statistics import ProcessStatistics, Snapshot
from mycelium.service import Host, NoSettings, Placement, Service, handles
from mycelium.service.figures import tell_host
from mycelium.service.host import summary_of
from mycelium.service.telling import Telling
from mycelium.testing import ManualClock


class Number(Message, type_id=1, topic="numbers.{lane}"):
    lane: str
    value: int


class Source(Service[NoSettings]):
    """Publishes numbers until the onlooker has heard enough."""

    name = "source"
    publishes = (Number,)

    async def run(self) -> None:
        value = 0
        while not Onlooker.enough.is_set():
            await self.publish(Number("a", value := value + 1))
            await self.breathe()


class Onlooker(Service[NoSettings]):
    """Hears what its process says of itself."""

    name = "onlooker"
    heard: ClassVar[list[ProcessStatistics]] = []
    enough: ClassVar[asyncio.Event]

    @handles(ProcessStatistics)
    async def on_statistics(self, said: ProcessStatistics) -> None:
        self.heard.append(said)
        if len(self.heard) >= 2:
            self.enough.set()


class Deaf(Service[NoSettings]):
    """Ends the source by itself."""

    name = "deaf"

    async def run(self) -> None:
        Onlooker.enough.set()


@pytest.fixture(autouse=True)
def _anew() -> None:
    Onlooker.heard.clear()
    Onlooker.enough = asyncio.Event()


def host_of(*types: type[Service[Any]]) -> tuple[Host, list[ProcessStatistics]]:
    """A host, and all messages that it makes."""
    made: list[ProcessStatistics] = []

    class Recorded(Telling):
        def message(self) -> ProcessStatistics:
            made.append(super().message())
            return made[-1]

    telling = Recorded("monolith", "1.2", lambda figures: tell_host(figures, host.statistics()), SystemClock())
    host = Host([Placement(kind, NoSettings()) for kind in types], clock=SystemClock(), telling=telling)
    return host, made


async def test_a_monolith_says_it_to_a_service_that_handles_it() -> None:
    host, _ = host_of(Source, Onlooker)
    outcome = await host.run()
    first, second = Onlooker.heard[:2]
    assert (first.process, first.version, first.epoch) == ("monolith", "1.2", second.epoch)
    assert second.time - first.time > 0
    assert Snapshot(second).value("mycelium_published_messages", contract="Number") >= 0
    summary = summary_of(outcome, {})
    assert set(summary["published"]) == {"Number"}
    assert summary["events"] == summary["published"]["Number"]
    assert summary["ledger"]["subscriptions"] == {}
    assert summary["services"]["onlooker"]["handled"] == len(Onlooker.heard)
    assert outcome.ledger.balanced


async def test_a_monolith_in_which_nobody_listens_says_nothing() -> None:
    host, made = host_of(Source, Deaf)
    await host.run()
    assert made == []


async def test_now_every_second_and_at_the_end() -> None:
    clock, said = ManualClock(), list[int]()

    async def say(message: ProcessStatistics) -> None:
        said.append(message.time)

    telling = Telling("one", "1", lambda _figures: None, clock)
    begin = clock.time_ns()
    async with telling.saying(say):
        await asyncio.sleep(0)
        for _ in range(2):
            await clock.advance(1)
            for _ in range(5):
                await asyncio.sleep(0)
    assert [(time - begin) / 1e9 for time in said] == [0, 1, 2, 2]


@pytest.mark.parametrize(("takes", "pause"), [(0.02, 1.0), (0.07, 1.4), (0.5, 2.0)])
async def test_who_takes_long_says_it_less_often(takes: float, pause: float) -> None:
    class Slow(ManualClock):
        pauses: ClassVar[list[float]] = []

        async def sleep(self, seconds: float) -> None:
            self.pauses.append(seconds)
            await super().sleep(seconds)

    clock = Slow()

    async def say(_message: ProcessStatistics) -> None:
        await ManualClock.advance(clock, takes)

    async with Telling("one", "1", lambda _figures: None, clock).saying(say):
        for _ in range(10):
            await asyncio.sleep(0)
    assert clock.pauses == [pytest.approx(pause)]
    clock.pauses.clear()


async def test_what_goes_wrong_is_logged_now_and_then_and_ends_nothing() -> None:
    clock, said = ManualClock(), list[str]()
    begin = clock.time_ns()

    def tell(figures: Figures) -> None:
        del figures
        if clock.time_ns() == begin:
            raise ValueError("no figures today")

    async def say(message: ProcessStatistics) -> None:
        said.append(message.process)

    telling = Telling("one", "1", tell, clock)
    with capture_logs() as logs:
        for _ in range(4):
            await telling.say(say)
        await clock.advance(6)
        await telling.say(say)
    assert said == ["one"]
    assert [(log["event"], log["error"]) for log in logs] == [
        ("cannot tell the statistics", "ValueError: no figures today")
    ]


async def test_nobody_waits_for_the_last_word() -> None:
    async def say(_message: ProcessStatistics) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(10), Telling("one", "1", lambda _figures: None, SystemClock()).saying(say):
        pass
