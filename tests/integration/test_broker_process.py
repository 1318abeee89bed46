"""The bad days of ``mycelium broker``: a full disk, a full journal, damage, what is wrong at its start, how it ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium import Bus, Network
from mycelium.core.delivery.frames import Account
from mycelium.core.ledger import Cause
from mycelium.journal import Outbox
from mycelium.journal.disk import DATA
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.books import StoreBooks, read_books
from tests.chaos.messages import Event
from tests.integration.test_published import kept
from tests.processes.disks import mounted
from tests.processes.running import Processes, Running, processes

pytestmark = pytest.mark.process

SMALL, LARGE = 100, 100_000


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def ballast(tmp_path: Path) -> Iterator[Path]:
    """A file that fills a disk of 16 MiB, on which the state of the broker is, but for some 4 MiB."""
    with mounted(tmp_path / "state", "16m") as disk:
        file = disk / "ballast"
        file.write_bytes(bytes(12 << 20))
        yield file


def books_of(address: StoreAddress) -> StoreBooks:
    return asyncio.run(read_books(address, 10))


async def read(address: StoreAddress, last: int) -> list[int]:
    """What a durable reader gets up to a number, and tells the broker to have got."""
    numbers: list[int] = []
    async with (
        asyncio.timeout(60),
        Bus("reader", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.subscriber(Event, start="earliest", durable="reader") as events,
    ):
        while last not in numbers[-1:]:
            numbers.append((await anext(events)).number)
    return numbers


def lines(process: Running, text: str) -> list[str]:
    return [line for line in process.said if text in line]


def test_the_disk_is_full_for_a_while(started: Processes, ballast: Path) -> None:
    address = started.configure()
    broker = started.broker()
    publisher = started.publisher("p", address, outbox=True)
    publisher.tell(f"publish 1 90 {LARGE}")
    said = broker.wait_for("publishers wait")
    assert "disk is full" in said
    publisher.tell("flush")
    last = books_of(address).streams[0].last
    assert 10 < last < 60
    assert asyncio.run(read(address, last)) == list(range(1, last + 1))
    ballast.unlink()
    broker.wait_for("there is room in the journal again")
    publisher.wait_for("done")
    publisher.wait_for("done")
    assert asyncio.run(read(address, 90)) == list(range(last + 1, 91))
    assert broker.end() == 0
    assert len(lines(broker, "publishers wait")) == 1, broker.text
    assert "Traceback" not in broker.text
    assert kept(started.journal) == list(range(1, 91))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_confirmed_that_a_full_disk_did_not_take(
    started: Processes, ballast: Path, number: signal.Signals
) -> None:
    """Broker and publisher end while the disk is full: what is not in the journal is in the outbox."""
    address = started.configure()
    broker = started.broker()
    publisher = started.publisher("p", address, outbox=True)
    publisher.ask(f"publish 1 90 {LARGE}")
    broker.wait_for("publishers wait")
    broker.end(number)
    publisher.end(signal.SIGKILL)
    ballast.unlink()
    outbox = Outbox(started.directory / "outbox-p")
    outbox.close()
    left = [frame.sequence for frame in outbox.left]
    there = kept(started.journal)
    assert left[-1] == 90
    assert there == list(range(1, there[-1] + 1))
    assert left == list(range(left[0], 91))
    assert left[0] <= there[-1] + 1


def test_the_journal_is_full(started: Processes) -> None:
    """Publishers do not wait; a reader that was away has what retention has removed counted as expired."""
    address = started.configure(f"journal_bytes = {32 << 20}")
    broker = started.broker()
    publisher = started.publisher("p", address)
    publisher.ask(f"publish 1 10 {SMALL}")
    publisher.ask("flush")
    assert asyncio.run(read(address, 10)) == list(range(1, 11))
    publisher.ask(f"publish 11 990 {LARGE}")
    publisher.ask("flush")
    numbers = asyncio.run(read(address, 1000))
    assert 11 < numbers[0] < 1000
    assert numbers == list(range(numbers[0], 1001))
    account = books_of(address).streams[0].readers["reader"]
    assert account == Account(0, 1000, 10 + len(numbers), {Cause.EXPIRED: numbers[0] - 11})
    assert account.missing == 0
    assert broker.end() == 0
    assert "Traceback" not in broker.text
    assert (started.journal / DATA).stat().st_size <= 32 << 20


def test_a_group_is_confirmed_once_it_is_synced(started: Processes) -> None:
    """Not before the interval has passed, and when it has, without waiting for anything else."""
    address = started.configure('durability = "group"\nsync_interval_ms = 3000')
    started.broker()
    publisher = started.publisher("p", address)
    publisher.ask(f"publish 1 1 {SMALL}")
    publisher.ask("flush")
    for first in (2, 102):
        began = time.monotonic()
        publisher.ask(f"publish {first} 100 {SMALL}")
        while books_of(address).streams[0].last < first + 99:
            pass
        assert time.monotonic() - began < 2, "kept at once"
        publisher.ask("flush")
        assert 2 < time.monotonic() - began < 6, "confirmed at the end of the interval"


def test_short_intervals_are_kept_to(started: Processes) -> None:
    """Twenty times: published, synced, confirmed. The ticks of the store, four a second, have no part in it."""
    address = started.configure('durability = "group"\nsync_interval_ms = 10')
    started.broker()
    publisher = started.publisher("p", address)
    publisher.ask("flush")
    began = time.monotonic()
    for number in range(1, 21):
        publisher.ask(f"publish {number} 1 {SMALL}")
        publisher.ask("flush")
    assert time.monotonic() - began < 2.5, "it takes half of 20 ticks"


@pytest.mark.parametrize("durability", ["process", "frame"])
def test_others_are_confirmed_at_once(started: Processes, durability: str) -> None:
    address = started.configure(f'durability = "{durability}"\nsync_interval_ms = 60000')
    broker = started.broker()
    publisher = started.publisher("p", address)
    publisher.ask(f"publish 1 500 {SMALL}")
    publisher.ask("flush")
    broker.end(signal.SIGKILL)
    assert kept(started.journal) == list(range(1, 501))


def ends_with(process: Running, code: int, *texts: str) -> None:
    """It ends by itself, with a sentence that says it all."""
    assert process.wait() == code, process.text
    errors = lines(process, "error: ")
    assert len(errors) == 1, process.text
    assert all(text in errors[0] for text in texts), process.text
    assert "Traceback" not in process.text


def test_a_damaged_journal_is_refused(started: Processes) -> None:
    address = started.configure()
    broker = started.broker()
    publisher = started.publisher("p", address)
    publisher.ask(f"publish 1 50 {SMALL}")
    publisher.ask("flush")
    broker.end(signal.SIGKILL)
    file = started.journal / DATA
    sound = file.read_bytes()
    file.write_bytes(sound[:8192] + bytes(byte ^ 0x55 for byte in sound[8192:16384]) + sound[16384:])
    ends_with(
        started.mycelium("broker", "-c", started.config), 1, "damaged", f"mycelium journal salvage {started.journal}"
    )
    salvaged = started.directory / "salvaged"
    assert started.mycelium("journal", "salvage", started.journal, "--out", salvaged).wait() in (0, 1)
    # What was in the damaged pages depends on how many transactions it took to get there; mostly no message was.
    saved = kept(salvaged)
    assert saved
    assert set(saved) <= set(range(1, 51))
    shutil.rmtree(started.journal)
    salvaged.rename(started.journal)
    broker = started.broker()
    publisher.ask(f"publish 51 10 {SMALL}")
    publisher.ask("flush")
    assert broker.end() == 0
    assert kept(started.journal) == saved + list(range(51, 61))


@pytest.mark.parametrize("port", ["frames", "control", "publish"])
def test_an_address_is_in_use(started: Processes, port: str) -> None:
    endpoint: str = getattr(started.configure(), port)
    number = int(endpoint.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", number)):
        ends_with(started.mycelium("broker", "-c", started.config), 1, endpoint, "Address already in use")
    broker = started.broker()
    assert broker.end() == 0


def test_a_second_broker_on_the_same_journal(started: Processes) -> None:
    started.configure()
    first = started.broker()
    second = started.directory / "second.toml"
    text = started.config.read_text()
    started.configure()
    second.write_text(started.config.read_text())
    started.config.write_text(text)
    ends_with(
        started.mycelium("broker", "-c", second), 1, f"is open in process {first.process.pid}", "use another directory"
    )
    assert first.end() == 0


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("journal_bytes = 10", "broker.journal_bytes = 10: should be"),
        ('durability = "sometimes"', "broker.durability = 'sometimes': should be"),
        ("sync_interval_ms = 0", "broker.sync_interval_ms = 0: should be"),
        ("port = 1", "broker.port: is not a known key"),
    ],
)
def test_a_wrong_topology(started: Processes, broker: str, said: str) -> None:
    started.configure()
    started.config.write_text(started.config.read_text().replace("[broker]", f"[broker]\n{broker}"))
    ends_with(started.mycelium("broker", "-c", started.config), 2, str(started.config), said)


def test_a_topology_without_a_broker(started: Processes) -> None:
    started.configure()
    text = started.config.read_text()
    start = text.index("[broker]")
    started.config.write_text(text[:start].replace("distributed", "monolith") + text[text.index("[[bundles]]") :])
    ends_with(started.mycelium("broker", "-c", started.config), 2, "broker: is missing")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(started: Processes, number: signal.Signals) -> None:
    """In the middle of things: what the publisher knows to be confirmed is kept."""
    address = started.configure()
    broker = started.broker()
    publisher = started.publisher("p", address, outbox=True)
    publisher.tell(f"publish 1 20000 {SMALL}")
    while not books_of(address).streams:
        pass
    assert broker.end(number) == 0
    assert "stopped" in broker.said[-1]
    assert "Traceback" not in broker.text
    publisher.wait_for("done")
    publisher.end(signal.SIGKILL)
    outbox = Outbox(started.directory / "outbox-p")
    outbox.close()
    there = kept(started.journal)
    assert there == list(range(1, there[-1] + 1))
    assert [*range(1, outbox.left[0].sequence), *(frame.sequence for frame in outbox.left)] == list(range(1, 20_001))
    assert outbox.left[0].sequence <= there[-1] + 1
