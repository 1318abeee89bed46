"""What counts as published: what a process takes with it when it is killed, and what it does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium import Bus, Network
from mycelium.core.envelope import decode_frame, source_id
from mycelium.core.message import PayloadCodec
from mycelium.journal import LmdbJournal
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.messages import Event
from tests.processes.running import Processes, processes

pytestmark = pytest.mark.process

SMALL, LARGE = 100, 100_000


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def kept(journal: Path) -> list[int]:
    """The numbers in a journal that no process has open, in the order in which they came."""
    opened = LmdbJournal(journal)
    try:
        codec = PayloadCodec(Event)
        envelopes = [decode_frame(r.frame) for r in opened.read(0, limit=1 << 30, max_bytes=1 << 30)]
        assert {envelope.source for envelope in envelopes} == {source_id("p")}
        return [event.number for envelope in envelopes for event in codec.decode(envelope.payload, envelope.count)]
    finally:
        opened.close()


async def read(fabric: Fabric, how_many: int) -> list[int]:
    """What a reader gets that begins with the oldest. Each incarnation of the publisher is a stream, with its order."""
    numbers = []
    async with (
        asyncio.timeout(30),
        Bus("reader", network=Network(fabric=fabric)) as bus,
        bus.subscriber(Event, start="earliest", durable="reader") as events,
    ):
        async for event in events:
            numbers.append(event.number)
            if len(numbers) == how_many:
                break
    return numbers


@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
def test_a_publisher_is_killed_while_the_broker_is_down(started: Processes, outbox: bool) -> None:
    address = started.configure()
    broker = started.broker()
    first = started.publisher("p", address, outbox=outbox)
    first.ask(f"publish 1 100 {SMALL}")
    first.ask("flush")
    broker.end(signal.SIGKILL)
    first.ask(f"publish 101 50 {SMALL}")
    first.end(signal.SIGKILL)
    broker = started.broker()
    again = started.publisher("p", address, outbox=outbox)
    again.ask(f"publish 1001 20 {SMALL}")
    again.ask("flush")
    expected = [*range(1, 151 if outbox else 101), *range(1001, 1021)]
    assert sorted(asyncio.run(read(Fabric(stores=(address,)), len(expected)))) == expected
    assert broker.end() == 0
    assert kept(started.journal) == expected


@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
def test_a_publisher_is_killed_while_the_broker_is_stopped(started: Processes, outbox: bool) -> None:
    """What was with the kernel already arrives, the rest is in the outbox or lost; always from the beginning on."""
    address = started.configure()
    broker = started.broker()
    first = started.publisher("p", address, outbox=outbox)
    first.ask(f"publish 1 100 {SMALL}")
    first.ask("flush")
    broker.send(signal.SIGSTOP)
    first.ask(f"publish 101 150 {LARGE}")
    first.end(signal.SIGKILL)
    broker.send(signal.SIGCONT)
    again = started.publisher("p", address, outbox=outbox)
    again.ask(f"publish 1001 20 {SMALL}")
    again.ask("flush")
    assert broker.end() == 0
    old, new = kept(started.journal)[:-20], kept(started.journal)[-20:]
    assert new == list(range(1001, 1021))
    assert old == list(range(1, old[-1] + 1))
    if outbox:
        assert old[-1] == 250
    else:
        assert 100 <= old[-1] < 250


def test_what_a_full_window_takes_is_in_the_outbox(started: Processes) -> None:
    """``publish`` returns when the outbox has the message, not when there is a place for it in memory."""
    address = started.configure()
    first = started.publisher("p", address, outbox=True)
    given_up = number_in(first.ask(f"fill 1 {LARGE}"))
    assert given_up > 100
    first.end(signal.SIGKILL)
    broker = started.broker()
    again = started.publisher("p", address, outbox=True)
    again.ask("flush")
    assert broker.end() == 0
    assert kept(started.journal) == list(range(1, given_up))


def test_holes_are_passed_over(started: Processes) -> None:
    """A publish that had to wait is cancelled, and a message is too large to travel: nothing else is missing."""
    address = started.configure()
    first = started.publisher("p", address, outbox=True)
    given_up = number_in(first.ask(f"fill 1 {LARGE}"))
    first.tell(f"publish 1001 10 {SMALL}")
    broker = started.broker()
    first.wait_for("done")
    first.ask("flush")
    broker.end(signal.SIGKILL)
    first.ask(f"publish 1011 10 {SMALL}")
    first.ask("publish 1021 1 2000000")
    first.ask(f"publish 1022 10 {SMALL}")
    first.end(signal.SIGKILL)
    broker = started.broker()
    again = started.publisher("p", address, outbox=True)
    again.ask("flush")
    assert broker.end() == 0
    assert kept(started.journal) == [*range(1, given_up), *range(1001, 1021), *range(1022, 1032)]


def number_in(line: str) -> int:
    """What a publisher has said beside ``done``."""
    return int(line.split()[1])


def bundle(directory: Path) -> tuple[StoreAddress, StoreAddress]:
    """Where the publishing bundle and a reading one are."""
    writing, reading = (
        StoreAddress(name, f"ipc://{directory}/{name}.frames", f"ipc://{directory}/{name}.control")
        for name in ("writing", "reading")
    )
    return writing, reading


@pytest.mark.parametrize("journal", ["lmdb", "memory"])
def test_a_bundle_is_killed(started: Processes, journal: str) -> None:
    """Nobody has read yet what it has published: it comes from the journal on the disk, or not at all."""
    writing, reading = bundle(started.directory)
    own = "memory" if journal == "memory" else str(started.directory / "journal")
    first = started.publisher("p", writing, own=own)
    first.ask(f"publish 1 5000 {SMALL}")
    first.ask("flush")
    first.end(signal.SIGKILL)
    again = started.publisher("p", writing, own=own)
    again.ask(f"publish 10001 20 {SMALL}")
    again.ask("flush")
    expected = [*range(1, 5001 if journal == "lmdb" else 1), *range(10001, 10021)]
    assert sorted(asyncio.run(read(Fabric(own=reading, stores=(writing,)), len(expected)))) == expected
    again.close()
    if journal == "lmdb":
        assert kept(Path(own)) == expected
