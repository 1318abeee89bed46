"""``mycelium ledger`` against real stores."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelium import Bus, Network
from mycelium.core.delivery.control import Alive, Here, Join, Joined, Report, Reported, Row
from mycelium.core.delivery.frames import Account
from mycelium.core.delivery.joining import Start
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.books import read_books
from tests.chaos.messages import Event
from tests.processes.running import Processes, processes
from tests.unit.transport.stores import asking

pytestmark = pytest.mark.process


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def system(started: Processes) -> StoreAddress:
    """A broker with what two publishers have published; one reader has read all of one, and another nothing yet."""
    address = started.configure()
    started.broker()
    for name, count in (("first-publisher", 1_234), ("second-publisher", 500)):
        publisher = started.publisher(name, address)
        publisher.ask(f"publish 1 {count} 10")
        publisher.ask("flush")
        assert publisher.finish() == 0
    asyncio.run(read_some(address))
    return address


async def read_some(address: StoreAddress) -> None:
    async with (
        Bus("reader", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.subscriber(Event, "chaos.first-publisher.*", start="earliest", durable="archive") as events,
    ):
        async for event in events:
            if event.number == 1_234:
                break


def ledger(started: Processes, *options: object, columns: int = 200) -> tuple[int, str]:
    """Its exit code, and what it shows."""
    process = started.start("mycelium", "ledger", "--config", started.config, *options, columns=columns)
    return process.wait(), process.text


def test_the_table(started: Processes, system: StoreAddress) -> None:
    code, shown = ledger(started)
    assert code == 0
    assert re.search(r"chaos.first-publisher.0 first-publisher +archive +1,234 +1,234 +0 +0\n", shown)
    assert re.search(r"chaos.second-publisher.0 second-publisher +nobody +500 +0 +0 +0\n", shown)
    assert "✓ the ledger balances" in shown


@pytest.mark.parametrize("columns", [80, 60])
def test_a_narrow_terminal(started: Processes, system: StoreAddress, columns: int) -> None:
    """Names are folded, figures never."""
    code, shown = ledger(started, columns=columns)
    assert code == 0
    assert max(len(line) for line in shown.splitlines()) <= columns
    for word in ("published", "delivered", "dropped", "waiting", "archive", "1,234", "nobody", "500"):
        assert word in shown, shown
    assert "…" not in shown


def test_for_programs(started: Processes, system: StoreAddress) -> None:
    code, shown = ledger(started, "--json", columns=40)
    assert code == 0
    found: dict[str, Any] = json.loads(shown)
    assert (found["balanced"], found["refused"]) == (True, {"broker": {}})
    rows = sorted(found["rows"], key=lambda row: row["topic"])
    assert [row.pop("epoch") > 0 for row in rows] == [True, True]
    head = {"store": "broker", "dropped": {}, "waiting": 0, "missing": 0}
    assert rows == [
        {**head, "topic": "chaos.first-publisher.0", "source": "first-publisher", "reader": "archive",
         "published": 1_234, "delivered": 1_234},
        {**head, "topic": "chaos.second-publisher.0", "source": "second-publisher", "reader": None,
         "published": 500, "delivered": 0},
    ]  # fmt: skip


async def claim(address: StoreAddress) -> None:
    """A reader that says to be through with all, and to have got ten messages fewer, three of them for a cause."""
    stream = (await read_books(address, 10)).streams[0].stream
    with asking(address) as (reader,):
        reader.say(Alive(()))
        await reader.answer(Here)
        reader.say(Join(1, "liar", 900, (">",), Start.EARLIEST, durable=True))
        await reader.answer(Joined)
        reader.say(Report(1, "liar", 1, True, (Row(stream, Account(0, 1_234, 1_224, {"queue full: latest": 3})),)))
        await reader.answer(Reported)


def test_books_that_do_not_balance(started: Processes, system: StoreAddress) -> None:
    asyncio.run(claim(system))
    code, shown = ledger(started)
    assert code == 1
    assert "✗ 7 messages are missing" in shown
    assert re.search(r"liar +1,234 +1,224 +3 +0", shown)
    assert re.search(r" 3 +queue full: latest\n", shown)
    found = json.loads(ledger(started, "--json")[1])
    assert found["balanced"] is False
    assert [row["missing"] for row in found["rows"] if row["reader"] == "liar" and row["missing"]] == [7]


def test_a_store_that_is_down(started: Processes) -> None:
    address = started.configure()
    code, shown = ledger(started, "--seconds", 0.3)
    assert code == 1
    assert shown == f"error: {address.control}: broker has not answered in 0.3 s; is it running?\n"


def test_a_monolith_has_no_store_to_ask(started: Processes) -> None:
    started.configure()
    started.config.write_text(started.config.read_text().replace('"distributed"', '"monolith"'))
    code, shown = ledger(started)
    assert code == 2
    assert shown.startswith(f"error: {started.config}: deployment.mode = 'monolith': runs in one process")


def test_nothing_published_yet(started: Processes) -> None:
    started.configure()
    started.broker()
    code, shown = ledger(started)
    assert code == 0
    assert shown == "nothing has been published that is kept\n\n✓ the ledger balances\n"
