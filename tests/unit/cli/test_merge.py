from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from mycelium.bus.clock import SystemClock
from mycelium.cli.merge import merged, unheard
from mycelium.cli.report import print_summary
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Placement, Service, handles
from mycelium.service.host import summary_of


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str


class Source(Service[NoSettings]):
    name = "source"
    publishes = (Tick,)

    async def run(self) -> None:
        for _ in range(5):
            await self.publish(Tick("a"))
        self.intake("file").accept(5)
        self.intake("file").refuse("bad", "line 6", "no tick")


class Reader(Service[NoSettings]):
    name = "reader"

    @handles(Tick)
    async def on_tick(self, tick: Tick) -> None:
        self.intake("ticks").ignore("bad")


def summary(*services: type[Service[NoSettings]]) -> dict[str, Any]:
    placements = [Placement(service, NoSettings()) for service in services]
    outcome = asyncio.run(Host(placements, clock=SystemClock()).run())
    return summary_of(outcome, {"ticks": ["Tick"]})


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return summary(Source, Reader)


def shown(figures: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_summary(console, figures, ["ticks"])
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]
    return printed


def test_one_summary_alone_stays_as_it_is(whole: dict[str, Any]) -> None:
    alone = merged([whole], ["ticks"])
    # A summary's seconds are rounded, and its rate is not computed from those.
    assert alone.pop("rate_per_s") == pytest.approx(whole["rate_per_s"], rel=0.01)
    assert alone == {name: value for name, value in whole.items() if name != "rate_per_s"}


def test_a_merged_summary_has_the_same_form_and_adds_up(whole: dict[str, Any]) -> None:
    other = summary(Source)
    other["ledger"]["subscriptions"] = {"other.on_tick": {"published": 5, "delivered": 4, "dropped": 1, "queued": 0}}
    other["ledger"] |= {"balanced": False, "dropped": {"lost": 1}, "queued": 3}
    other["latency_us"]["p99"] = 10**9
    both = merged([whole, other], ["ticks"])
    assert _form(both) == _form(whole)
    assert (both["ticks"], both["published"], both["seconds"]) == (
        10,
        {"Tick": 10},
        max(whole["seconds"], other["seconds"]),
    )
    assert both["rate_per_s"] == pytest.approx(10 / both["seconds"], abs=0.1)
    assert both["latency_us"]["p99"] == 10**9
    ledger = both["ledger"]
    assert (ledger["published"], ledger["delivered"], ledger["queued"], ledger["unread"]) == (10, 5, 3, 5)
    assert (ledger["balanced"], ledger["dropped"]) == (False, {"lost": 1})
    assert list(ledger["subscriptions"]) == ["reader.on_tick", "other.on_tick"]
    assert ledger["intake"]["source.file"]["refused"] == {"bad": 2}
    assert set(both["services"]) == {"source", "reader"}


def _form(figures: dict[str, Any]) -> dict[str, Any]:
    """The keys that every summary has."""
    return {key: sorted(value) if key in ("ledger", "latency_us") else ... for key, value in figures.items()}


def test_books_that_do_not_agree_are_told(whole: dict[str, Any]) -> None:
    assert unheard(whole, {"reader.on_tick": "Tick"}) == []
    assert unheard(whole | {"published": {"Tick": 6_000}}, {"reader.on_tick": "Tick", "other.on_tick": "Tock"}) == [
        "reader.on_tick knows of 5 Tick, published are 6,000"
    ]
    assert unheard(whole, {"nobody.on_tick": "Tick"}) == ["nobody.on_tick knows of 0 Tick, published are 5"]


def test_the_table_shows_what_the_summary_says(whole: dict[str, Any]) -> None:
    lines = [" ".join(line.split()) for line in shown(whole).splitlines()]
    for line in (
        "ticks 5",
        "source.file 6 5 0 1",
        "reader.ticks 5 0 5 0",
        "reader.on_tick 5 5 0 0",
        "5 reader ignored: bad",
        "1 source refused: bad",
        "✓ the ledger balances",
    ):
        assert line in lines, line


def test_the_table_adds_up_what_one_service_says_twice_and_tells_what_is_missing(whole: dict[str, Any]) -> None:
    ledger = whole["ledger"]
    more = {"source.disk": {"read": 9, "accepted": 1, "ignored": {}, "refused": {"bad": 2}}}
    printed = shown(whole | {"ledger": ledger | {"balanced": False, "intake": ledger["intake"] | more}})
    assert "3  source refused: bad" in printed
    assert "✗ the ledger does not balance: 6 message(s) unaccounted for" in printed
