"""What counts as published: what a process takes with it when it is killed, and what it does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium import Bus, Network
from mycelium.core.envelope import decode_frame, source_id
from mycelium.core.message import PayloadCodec, contract_of
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
        codec = PayloadCodec(contract_of(Event).message_type)
        envelopes = [decode_frame(r.frame) for r in opened.read(0, limit=1 << 30, max_bytes=1 << 30)]
        assert {envelope.source for envelope in envelopes} == {source_id("p")}
        return [event.number for envelope in envelopes for event in codec.decode(envelope.payload, envelope.count)]
    finally:
        opened.close()


async def read(fabric: Fabric, last: int) -> list[int]:
    """What a reader gets that begins with the oldest, up to a number."""
    numbers = []
    async with (
        asyncio.timeout(30),
        Bus("reader", network=Network(fabric=fabric)) as bus,
        bus.subscriber(Event, start="earliest", durable="reader") as events,
    ):
        async for event in events:
            numbers.append(event.number)
            if event.number == last:
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
    # A reader sees each stream in order; each incarnation of the publisher is a stream.
    assert sorted(asyncio.run(read(Fabric(stores=(address,)), 1020))) == expected
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
    broker.signal(signal.SIGSTOP)
    first.ask(f"publish 101 150 {LARGE}")
    first.end(signal.SIGKILL)
    broker.signal(signal.SIGCONT)
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


def test_a_hole_in_an_outbox_is_passed_over(started: Processes) -> None:
    """A publish is cancelled that had to wait; its process is killed with what lies on both sides of the hole."""
    address = started.configure()
    first = started.publisher("p", address, outbox=True)
    first.tell(f"publish 1 200 {LARGE}")
    broker = started.broker()
    first.wait_for("done")
    first.ask("flush")
    broker.end(signal.SIGKILL)
    first.ask(f"publish 201 168 {LARGE}")
    first.ask(f"cancel 369 {LARGE}")
    broker = started.broker()
    first.ask("flush")
    broker.end(signal.SIGKILL)
    first.ask(f"publish 370 10 {SMALL}")
    first.end(signal.SIGKILL)
    broker = started.broker()
    again = started.publisher("p", address, outbox=True)
    again.ask("flush")
    assert broker.end() == 0
    assert kept(started.journal) == [*range(1, 369), *range(370, 380)]


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
    got = asyncio.run(read(Fabric(own=reading, stores=(writing,)), 10020))
    assert sorted(got) == expected
    again.close()
    if journal == "lmdb":
        assert kept(Path(own)) == expected
