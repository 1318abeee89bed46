"""Every process says what it does, to whoever looks on, and nothing of that is kept or counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelium import Bus, Network
from mycelium.journal import LmdbJournal
from mycelium.observe.health import HealthState
from mycelium.observe.statistics import ProcessStatistics, Snapshot, Watch
from mycelium.topology.model import Mode
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.processes.running import PATIENCE, Processes, processes
from tests.systems import SmallSystem
from tests.watched import BUNDLES, WatchedSystem

pytestmark = pytest.mark.process

BROKER = "broker"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


async def _listen(addresses: tuple[StoreAddress, ...], until: Callable[[Watch], bool]) -> Watch:
    """What is said, until there is enough of it."""
    watch = Watch()
    fabric = Fabric(stores=addresses, own=None if addresses[0].publish else _own(addresses[0]))
    async with (
        asyncio.timeout(PATIENCE),
        Bus("looker", network=Network(fabric=fabric)) as bus,
        bus.subscriber(ProcessStatistics, name="looker") as said,
    ):
        async for message in said:
            watch.take(message, 0)
            if until(watch):
                break
        assert bus.ledger().routes == ()
    return watch


def _own(address: StoreAddress) -> StoreAddress:
    """A store of our own beside those of the bundles: without one there is nowhere to publish to."""
    frames, control = (at.replace(address.name, "looker") for at in (address.frames, address.control))
    return StoreAddress("looker", frames, control)


def listen(addresses: tuple[StoreAddress, ...], until: Callable[[Watch], bool]) -> Watch:
    return asyncio.run(_listen(addresses, until))


def has_two_of(*names: str) -> Callable[[Watch], bool]:
    def enough(watch: Watch) -> bool:
        found = watch.changes()
        return all(name in found and found[name].before is not None for name in names)

    return enough


def onlooker_has_heard(names: set[str]) -> Callable[[Watch], bool]:
    def enough(watch: Watch) -> bool:
        change = watch.changes().get("side")
        return change is not None and {one for (one,) in heard(change.now)} >= names

    return enough


def heard(said: Snapshot) -> dict[tuple[str, ...], float]:
    return said.values("mycelium_service_by_process", "name")


def check_ledger(system: WatchedSystem, started: Processes) -> None:
    """Nothing of it stands in the books of the stores."""
    ledger = started.mycelium("ledger", "--config", system.config, "--json")
    assert ledger.wait() in (0, 1), ledger.text
    rows = json.loads(ledger.text)["rows"]
    assert {row["topic"].partition(".")[0] for row in rows} >= {"ping", "pong"}
    assert not [row for row in rows if row["topic"].startswith("_sys.stats")]
    assert not [row for row in rows if row["reader"] is not None and "statistics" in row["reader"]]


def check_summaries(system: WatchedSystem) -> None:
    """Nothing of it stands in the books that processes write at their end."""
    summaries: dict[str, Any] = {name: json.loads(Path(system.summary(name)).read_text()) for name in BUNDLES}
    assert {one for summary in summaries.values() for one in summary["published"]} <= {"Ping", "Pong", "DeadLetter"}
    assert set(summaries["left"]["published"]) == {"Ping"}
    assert summaries["side"]["ledger"]["published"] == summaries["side"]["ledger"]["delivered"] == 0
    assert summaries["side"]["services"]["onlooker"]["handled"] > 0
    for name, summary in summaries.items():
        assert not [one for one in summary["ledger"]["subscriptions"] if "statistics" in one], name
        assert summary["ledger"]["refused"] == {}, name
        assert summary["ledger"]["unconfirmed"] == 0, name
        assert summary["ledger"]["balanced"], name


def test_all_bundles_say_what_they_do(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.BUNDLED)
    running = system.bundles()
    watch = listen(system.stores, has_two_of(*BUNDLES))
    change = watch.changes()["left"]
    assert 5 < change.rates("mycelium_published_messages", "contract")["Ping",] < 60
    assert change.now.value("mycelium_health", service="pinger", state="running") == 1
    assert change.now.value("process_cpu_seconds") > 0
    assert set(change.now.values("mycelium_published_messages", "contract")) == {("Ping",)}
    right = watch.changes()["right"].now
    assert right.histograms("mycelium_delivery_latency_seconds", "subscription")["ponger.on_ping",].count > 0
    listen(system.stores, onlooker_has_heard(set(BUNDLES)))
    check_ledger(system, started)
    for name in ("left", "right", "side"):
        assert running[name].end() == 0, running[name].text
    check_summaries(system)


def test_the_broker_says_what_it_does_too(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.DISTRIBUTED)
    broker = system.broker()
    running = system.bundles()
    watch = listen(system.stores, has_two_of(*BUNDLES, BROKER))
    said = watch.changes()[BROKER]
    assert said.now.value("mycelium_ready", part=BROKER) == 1
    assert said.rates("mycelium_broker_messages", "result")["kept",] > 5
    assert said.now.value("mycelium_broker_messages", result="passed on") == 0, "these are counted nowhere"
    listen(system.stores, onlooker_has_heard({*BUNDLES, BROKER}))
    check_ledger(system, started)
    for name in ("left", "right", "side"):
        assert running[name].end() == 0, running[name].text
    assert broker.end() == 0
    check_summaries(system)
    journal = LmdbJournal(small_system.topology.parent / "state" / "journal-broker", max_bytes=1 << 30)
    try:
        topics = {extent.stream.topic for extent in journal.streams()}
    finally:
        journal.close()
    assert {"ping.a", "ping.b", "pong.a", "pong.b"} <= topics
    assert not [topic for topic in topics if topic.startswith("_sys.stats")]


def test_the_last_word_is_that_it_is_over(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.DISTRIBUTED)
    system.broker()
    left = system.bundle("left")

    def has_stopped(watch: Watch) -> bool:
        change = watch.changes().get("left")
        if change is None:
            return False
        if change.before is None:
            left.process.terminate()
        return change.now.value("mycelium_health", service="pinger", state=HealthState.RUNNING) == 0

    right = system.bundle("right")  # the pinger waits for whoever reads from it
    left.wait_for("ready")
    right.wait_for("ready")
    watch = listen(system.stores, has_stopped)
    assert watch.changes()["left"].now.value("mycelium_health", service="pinger", state=HealthState.STOPPED) == 1
    assert left.wait() == 0
