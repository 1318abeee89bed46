"""The picture of a system: from what processes say to what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.dashboard.picture import GONE_NS, Picture
from contracts.market import BlockClosed
from mycelium.core.delivery.control import Confirm, Joined
from mycelium.core.delivery.joining import Start
from mycelium.core.message import PayloadCodec
from mycelium.journal import LmdbJournal
from mycelium.observe.broker_figures import tell_broker
from mycelium.observe.figures import Figures
from mycelium.observe.statistics import ProcessStatistics, statistics_of
from mycelium.service import Host, NoSettings, Placement, Service
from mycelium.service.figures import tell_host
from mycelium.testing import ManualClock
from tests.unit.adapters.dashboard.sayings import SECOND, said, wiring
from tests.unit.broker.test_broker import open_broker, sending
from tests.unit.transport.stores import TYPE_ID, frame
from tests.unit.transport.test_clerk import join


@pytest.fixture
def picture() -> Picture:
    return Picture(wiring(), began=0)


def service(picture: Picture, name: str, now: int) -> Any:
    return next(one for one in picture.status(now)["services"] if one["name"] == name)


def process(picture: Picture, name: str, now: int) -> Any:
    return next(one for one in picture.status(now)["processes"] if one["name"] == name)


def test_nobody_is_missed_at_once_and_everybody_who_stays_away(picture: Picture) -> None:
    early = service(picture, "polygon_adapter", GONE_NS)
    assert (early["state"], early["is_bad"]) == ("not heard of", False)
    late = service(picture, "polygon_adapter", GONE_NS + 1)
    assert (late["state"], late["is_bad"], late["why"]) == ("not heard of", True, "no process has told of it")
    assert picture.gone(GONE_NS + 1) == {""}


def test_two_sayings_give_rates_and_latencies(picture: Picture) -> None:
    picture.take_statistics(said("market", 1, "polygon_adapter", published=10, handled=5), SECOND)
    first = service(picture, "polygon_adapter", SECOND)
    assert (first["state"], first["process"], first["rate"], first["published_rate"]) == (
        "running",
        "market",
        None,
        None,
    )
    assert {edge["rate"] for edge in picture.status(SECOND)["edges"]} == {None}
    later = said("market", 3, "polygon_adapter", published=50, handled=9, durations=(2_000,) * 99 + (8_000_000,))
    picture.take_statistics(later, 3 * SECOND)
    now = service(picture, "polygon_adapter", 3 * SECOND)
    assert (now["rate"], now["published_rate"]) == (2.0, 20.0)
    assert now["p50_us"] == pytest.approx(2.0, rel=0.04)
    assert process(picture, "market", 3 * SECOND)["p99_us"] == pytest.approx(2.0, rel=0.04)
    rates = {edge["contract"]: edge["rate"] for edge in picture.status(3 * SECOND)["edges"]}
    assert (rates["SwapEvent"], rates["ArbitrageSignal"]) == (20.0, None)
    assert picture.status(3 * SECOND)["flow"]["published_rate"] == 20.0


def test_a_silent_process_is_gone_and_back_when_it_speaks_again(picture: Picture) -> None:
    for at in (1, 2):
        picture.take_statistics(said("market", at, "polygon_adapter", published=at), at * SECOND)
    just = 2 * SECOND + GONE_NS
    assert service(picture, "polygon_adapter", just)["state"] == "running"
    gone = service(picture, "polygon_adapter", just + 1)
    assert (gone["state"], gone["is_bad"], gone["is_ready"], gone["rate"]) == ("gone", True, False, None)
    shown = process(picture, "market", just + 1)
    assert (shown["state"], shown["silent_seconds"], shown["restarts"]) == ("gone", 2, 0)
    assert {edge["rate"] for edge in picture.status(just + 1)["edges"]} == {None}
    picture.take_statistics(said("market", 6, "polygon_adapter", epoch=5 * SECOND), 6 * SECOND)
    assert service(picture, "polygon_adapter", 6 * SECOND)["state"] == "running"
    back = process(picture, "market", 6 * SECOND)
    assert (back["state"], back["restarts"], back["up_seconds"]) == ("ready", 1, 1)


def test_what_a_former_incarnation_still_says_brings_nobody_back(picture: Picture) -> None:
    picture.take_statistics(said("market", 3, "polygon_adapter", epoch=2), SECOND)
    news = picture.news
    picture.take_statistics(said("market", 9, "polygon_adapter", epoch=1), 9 * SECOND)
    picture.take_statistics(said("market", 2, "polygon_adapter", epoch=2), 9 * SECOND)
    assert picture.news == news
    assert process(picture, "market", 9 * SECOND)["state"] == "gone"


@pytest.mark.parametrize(
    ("state", "ready", "shown", "why", "is_bad"),
    [
        ("running", True, "running", "", False),
        ("running", False, "not ready", "waits for what it needs", False),
        ("starting", False, "starting", "is starting", False),
        ("failed", False, "failed", "is failed", True),
    ],
)
def test_why_a_service_is_not_ready(
    picture: Picture, state: str, ready: bool, shown: str, why: str, is_bad: bool
) -> None:
    picture.take_statistics(said("strategy", 1, "flash_arbitrage", state=state, ready=ready), SECOND)
    found = service(picture, "flash_arbitrage", SECOND)
    assert (found["state"], found["is_ready"], found["why"], found["is_bad"]) == (shown, ready, why, is_bad)
    told = process(picture, "strategy", SECOND)
    assert (told["state"], told["why"]) == (("ready", "") if ready else ("not ready", "flash_arbitrage"))


def test_books_are_those_of_all_processes_also_of_one_that_is_gone(picture: Picture) -> None:
    picture.take_statistics(said("market", 1, "polygon_adapter", missing=3, dropped={"latest": 5}), SECOND)
    picture.take_statistics(said("report", 8, "run_report", dropped={"latest": 1, "expired": 9}), 8 * SECOND)
    books = picture.status(8 * SECOND)["books"]
    assert (books["told"], books["gone"], books["missing"], books["dropped_total"]) == (2, 1, 3, 15)
    assert books["dropped"] == [
        {"cause": "dropped: expired", "number": 9},
        {"cause": "dropped: latest", "number": 6},
    ]


async def test_a_broker_shows_its_journal_and_who_is_behind(picture: Picture, tmp_path: Path) -> None:
    figures, journal = Figures(), LmdbJournal(tmp_path / "journal")
    async with (
        open_broker(journal, contracts={TYPE_ID: None}) as broker,  # type: ignore[dict-item]
        sending(broker, "writer") as sender,
    ):
        sender.publish(frame(1, count=3).data, frame(9, type_id=77).data)
        await sender.control.answer(Confirm)
        sender.control.say(join("durable", start=Start.EARLIEST))
        await sender.control.answer(Joined)
        tell_broker(figures, broker.statistics())
    picture.take_statistics(statistics_of("broker", 0, SECOND, "1.0", figures), SECOND)
    (store,) = picture.status(SECOND)["stores"]
    assert 0 < store.pop("stored_bytes") < store.pop("max_bytes")
    assert store == {
        "process": "broker",
        "messages": 3,
        "is_full": False,
        "unconfirmed_frames": 0,
        "lags": [{"reader": "durable", "messages": 3}],
        "is_gone": False,
    }
    books = picture.status(SECOND)["books"]
    assert books["refused"] == [{"cause": "at the broker: unknown type id", "number": 1}]
    assert picture.status(SECOND + GONE_NS + 1)["stores"][0]["is_gone"]


def test_the_last_block_is_shown(picture: Picture) -> None:
    assert picture.status(0)["block"] is None
    picture.take_block(BlockClosed(137, 7, 1_700_000_000, 1, 1, 1))
    assert picture.status(0)["block"] == {"chain": 137, "number": 7, "timestamp": 1_700_000_000}


def test_services_stand_in_the_processes_that_told_of_them(picture: Picture) -> None:
    picture.take_statistics(said("market", 1, "polygon_adapter"), SECOND)
    picture.take_statistics(said("rest", 1, "run_report", "flash_arbitrage"), SECOND)
    assert picture.status(SECOND)["groups"] == [
        [{"process": "market", "layers": [["polygon_adapter"]]}],
        [{"process": "rest", "layers": [["flash_arbitrage"], ["run_report"]]}],
        [{"process": "", "layers": [["dashboard"]]}],
    ]


class Idle(Service[NoSettings]):
    """Bears the name of one that is drawn."""

    name = "run_report"


async def test_a_real_host_is_understood(picture: Picture) -> None:
    clock = ManualClock()
    host = Host([Placement(Idle, NoSettings())], clock=clock)
    host.drain()
    await host.run()
    figures = Figures()
    tell_host(figures, host.statistics())
    codec = PayloadCodec(ProcessStatistics)
    (message,) = codec.decode(codec.encode([statistics_of("report", 0, SECOND, "1.0", figures)]), 1)
    picture.take_statistics(message, SECOND)
    found = service(picture, "run_report", SECOND)
    assert (found["state"], found["process"], found["why"]) == ("stopped", "report", "is stopped")
    assert picture.status(SECOND)["books"]["missing"] == 0
