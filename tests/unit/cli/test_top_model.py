"""What ``mycelium top`` makes of what processes say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mycelium.broker.broker import BrokerStatistics
from mycelium.bus.subscriber import SubscriberStatistics
from mycelium.cli.top_model import GONE_NS, Model, Picture
from mycelium.cli.top_tables import Alarm
from mycelium.core.ledger import Cause, Ledger, RouteEntry, StreamEntry
from mycelium.observe.broker_figures import tell_broker
from mycelium.observe.figures import Figures
from mycelium.observe.health import Health, HealthState
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import ProcessStatistics, statistics_of
from mycelium.service.figures import tell_host
from mycelium.service.host import HostStatistics
from mycelium.spec.model import SystemSpec
from tests.docs.test_metrics_page import BROKER as IDLE_BROKER

SECOND = 1_000_000_000

SPEC = SystemSpec.model_validate(
    {
        "system": "s",
        "contracts": {
            name: {"class": f"m:{name}", "type_id": number, "topic": f"{name.lower()}.x", "fields": {"x": "str"}}
            for number, name in enumerate(("Ping", "Pong"), 1)
        },
        "services": {
            name: {"class": "m:S", "publishes": publishes, "subscribes": [], "restart": "always", "depends_on": []}
            for name, publishes in (("pinger", ["Ping"]), ("ponger", ["Pong"]))
        },
    }
)


def model(*processes: str) -> Model:
    return Model(SPEC, ("pinger", "ponger"), processes)


def host(
    number: int = 0, *, service: str = "pinger", contract: str = "Ping", ready: str | None = None, **changes: Any
) -> HostStatistics:
    """What a process with one service knows, that publishes and reads what it publishes."""
    waiting = LatencyHistogram()
    for _ in range(number):
        waiting.record(2_000_000)
    reader = f"{service}.on_ping"
    dropped = {Cause.HANDLER: 1, Cause.LOST: 2, "queue policy latest": 3} if number else {}
    ledger = Ledger(
        streams=(StreamEntry("t", service, 1, contract, number, 0),),
        routes=(RouteEntry("t", service, 1, reader, number + 9, max(0, number - 6), dropped, 9),),
    )
    state = HealthState.RUNNING if ready is None else HealthState.STARTING
    known = HostStatistics(
        ledger=ledger,
        health=(Health(service, state, handled=number, dead_letters=bool(number)),),
        parts={service: ready},
        queues={service: SubscriberStatistics(1, number, 0, 9, 1024)},
        waiting={reader: waiting},
        services={},
    )
    return replace(known, **changes)


def said(
    process: str, time: int, known: HostStatistics | BrokerStatistics, *, epoch: int = 1, cpu: float = 0
) -> ProcessStatistics:
    figures = Figures()
    if isinstance(known, HostStatistics):
        tell_host(figures, known)
    else:
        tell_broker(figures, known)
    figures.counter("process_cpu_seconds", "…").add(cpu)
    return statistics_of(process, epoch, time * SECOND, "1.0", figures)


def twice(process: str = "left", **options: Any) -> Model:
    """A model that has heard two sayings of a process, 2 s apart, with 100 messages between them."""
    made = model(process)
    made.take(said(process, 1, host(0, **options)), SECOND)
    made.take(said(process, 3, host(100, **options), cpu=0.5), 3 * SECOND)
    return made


def rows(picture: Picture, name: str) -> list[dict[str, Any]]:
    return picture.tables[name].as_json()


def test_rates_and_latencies_are_of_the_time_between_two_sayings() -> None:
    picture = twice().picture(3 * SECOND)
    (process,) = rows(picture, "processes")
    assert (process["process"], process["state"], process["version"]) == ("left", "up", "1.0")
    assert (process["published_per_s"], process["cpu_percent"], process["restarts"]) == (50, 25, 0)
    assert process["delivered_per_s"] == (100 - 6 + 1) / 2
    assert 0.0019 < process["p50_s"] <= process["p99_s"] < 0.0021
    (service,) = rows(picture, "services")
    assert service == {
        "service": "pinger", "health": "running", "ready": "ready", "process": "left", "handled_per_s": 50,
        "retried": 0, "dead_letters": 1,
    }  # fmt: skip
    assert rows(picture, "streams") == [
        {"contract": "Ping", "service": "pinger", "published_per_s": 50, "published": 100, "unread": 0,
         "process": "left"}
    ]  # fmt: skip
    (reader,) = rows(picture, "subscriptions")
    assert (reader["subscription"], reader["lag"], reader["queue"]) == ("pinger.on_ping", 9, "9/1,024")
    assert (reader["dropped"], reader["dead_letters"], reader["lost"]) == (3, 1, 2)
    assert picture.tables["subscriptions"].rows[0].alarm is Alarm.WARNING
    assert ("50 msg/s", Alarm.NONE) in picture.headline


def test_there_are_no_rates_before_the_second_saying() -> None:
    made = model("left")
    assert not made.has_heard
    made.take(said("left", 1, host(5)), 0)
    assert (made.has_heard, made.has_rates) == (True, False)
    (process,) = rows(made.picture(0), "processes")
    assert (process["published_per_s"], process["cpu_percent"]) == (None, None)
    assert twice().has_rates


def test_who_has_said_nothing_for_three_seconds_is_gone_and_may_come_back() -> None:
    made = twice()
    assert rows(made.picture(3 * SECOND + GONE_NS), "processes")[0]["state"] == "up"
    picture = made.picture(3 * SECOND + GONE_NS + 1)
    (row,) = picture.tables["processes"].rows
    assert (row.values[1], row.alarm) == ("✗ GONE", Alarm.BAD)
    assert ("✗ 1 away", Alarm.BAD) in picture.headline
    assert rows(picture, "services") == rows(picture, "streams") == rows(picture, "ledger") == []
    assert {row["who"] for row in rows(picture, "drift")} == {"pinger", "ponger"}
    made.take(said("left", 20, host(0), epoch=2), 20 * SECOND)
    (process,) = rows(made.picture(20 * SECOND), "processes")
    assert (process["state"], process["restarts"], process["published_per_s"]) == ("up", 1, None)


def test_who_should_be_there_and_has_never_said_anything_is_shown() -> None:
    made = Model(SPEC, (), ("left", "right"), began=SECOND)
    made.take(said("right", 1, host()), SECOND)
    assert [row["process"] for row in rows(made.picture(SECOND), "processes")] == ["right"], "it may be about to"
    picture = made.picture(SECOND + GONE_NS)
    states = {row["process"]: row["state"] for row in rows(picture, "processes")}
    assert states["left"] == "✗ SILENT"


@pytest.mark.parametrize(
    ("ready", "health", "shown"),
    [
        ("starting", HealthState.STARTING, "✗ starting"),
        ("waits for blocks", HealthState.RUNNING, "✗ waits for what it needs"),
        ("failed", HealthState.FAILED, "✗ failed"),
    ],
)
def test_a_service_that_is_not_ready_says_why(ready: str, health: HealthState, shown: str) -> None:
    made = model("left")
    made.take(said("left", 1, host(ready=ready, health=(Health("pinger", health),))), 0)
    picture = made.picture(0)
    (row,) = picture.tables["services"].rows
    assert row.values[2] == shown
    assert row.alarm is (Alarm.BAD if health is HealthState.FAILED else Alarm.WARNING)
    assert ("✗ 1 not ready", Alarm.WARNING) in picture.headline


def test_missing_messages_are_bad() -> None:
    lost = Ledger(routes=(RouteEntry("t", "pinger", 1, "r", 10, 7, {}, 0),))
    made = model("left")
    made.take(said("left", 1, host(ledger=lost)), 0)
    picture = made.picture(0)
    (row,) = picture.tables["ledger"].rows
    assert (row.values[1], row.alarm) == (3, Alarm.BAD)
    assert picture.tables["ledger"].cells(row)[1] == "✗ 3"
    assert ("✗ 3 missing", Alarm.BAD) in picture.headline
    assert ("ledger balances", Alarm.NONE) in twice().picture(3 * SECOND).headline


def test_the_broker() -> None:
    made = model("broker")
    store = replace(IDLE_BROKER.store, refused={"publish rate": 4}, lags={"trader": 17}, repairs=5)
    known = replace(IDLE_BROKER, store=store, unconfirmed=3)
    made.take(said("broker", 1, known), 0)
    made.take(said("broker", 2, replace(known, accepted=80, passed_on=20, duplicates=1000)), 0)
    picture = made.picture(0)
    shown = {row["figure"]: row["value"] for row in rows(picture, "broker")}
    assert shown["journal"] == "at work"
    assert (shown["frames unconfirmed"], shown["refused: publish rate"], shown["lag of trader"]) == ("3", "4", "17")
    (process,) = rows(picture, "processes")
    assert (process["published_per_s"], process["delivered_per_s"]) == (None, 100)
    assert rows(picture, "services") == rows(picture, "ledger") == []
    made.take(said("broker", 3, replace(known, is_full=True)), 0)
    picture = made.picture(0)
    assert rows(picture, "broker")[0]["value"] == "✗ full: publishers wait"
    assert ("✗ journal", Alarm.BAD) in picture.headline


def test_drift() -> None:
    def drift(*hosts: HostStatistics) -> set[tuple[str, str]]:
        made = model(*(str(number) for number in range(len(hosts))))
        for number, known in enumerate(hosts):
            made.take(said(str(number), 1, known), 10 * SECOND)
        return {(row["who"], row["what"].removeprefix("✗ ")) for row in rows(made.picture(10 * SECOND), "drift")}

    right = host(service="ponger", contract="Pong")
    assert drift(host(), right) == set()
    assert drift(host()) == {("ponger", "no process hosts it")}
    stranger = host(service="stranger", contract="Ping")
    assert drift(host(), right, stranger) == {("stranger", "is hosted, and no service of system.yaml")}
    assert drift(host(contract="Pong"), right) == {("pinger", "publishes Pong, which system.yaml does not let it")}
    assert drift(host(contract="Nix"), right) == {("pinger", "publishes Nix, which is no contract of system.yaml")}
    assert drift(host(contract="DeadLetter"), right) == set()


def test_the_details_of_a_row_are_all_figures_about_it() -> None:
    made = twice()
    made.take(said("right", 1, host(5, service="ponger")), 3 * SECOND)
    of_service = made.details("services", ("pinger", "left"))
    shown = {(one.figure, one.labels): one.value for one in of_service}
    assert shown["mycelium_published_messages", "service=pinger, contract=Ping"] == "100  (50/s)"
    assert shown["mycelium_health", "service=pinger, state=running"] == "1"
    latency = shown["mycelium_delivery_latency_seconds", "subscription=pinger.on_ping"]
    assert latency.startswith("100 lately: p50 ")
    assert not [one for one in of_service if "ponger" in one.labels]
    of_process = {one.figure for one in made.details("processes", ("left",))}
    assert "process_cpu_seconds" in of_process
    assert {one.figure for one in of_service} < of_process
    assert made.details("subscriptions", ("pinger.on_ping", "left"))
    assert made.details("streams", ("Ping", "pinger", "left"))
    assert made.details("services", ("pinger", "nobody")) == []
    assert made.details("processes", ("nobody",)) == []
