"""How much one service may take of a broker: time, messages and memory. Against a running one, over tcp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from mycelium import Bus, Network
from mycelium.core.delivery.control import (
    Alive,
    Announce,
    AskBooks,
    Books,
    Join,
    Offence,
    Report,
    Row,
    encode,
    from_store,
)
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.transport.books import read_books
from tests.processes.running import processes
from tests.security.services import Order, Tick
from tests.security.system import Secured, attacker, count, legitimate, start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

MOST_MIB = 200
RATE = 5_000

GROWTH_MIB = 40
"""What one rogue may cost: its connections, and what is remembered for a while."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker that lets each service publish so many messages a second, and have two readers."""
    with processes(tmp_path_factory.mktemp("slow")) as started:
        yield start_secured(started, f"messages_per_second = {RATE}\nreaders_each = 2\n")


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Secured]:
    """One without such limits."""
    with processes(tmp_path) as started:
        yield start_secured(started)


def offences(at: Secured, who: str, cause: str) -> int:
    return count(asyncio.run(read_books(at.address, 20, at.credentials("ledger"))).offences, who, cause)


def until(at: Secured, who: str, cause: str, at_least: int) -> None:
    """Wait until somebody was refused something so often."""
    offences: tuple[Offence, ...] = ()
    deadline = time.monotonic() + 30
    with attacker(zmq.DEALER, at.address.control, at.credentials("ledger")) as peer:
        while count(offences, who, cause) < at_least:
            assert time.monotonic() < deadline, f"{who}: {cause}: not {at_least} times; {offences}; {at.broker.text}"
            peer.send(encode(AskBooks(0)))
            if peer.poll(1_000) and isinstance(books := from_store(peer.recv()), Books):
                offences = books.offences


# --- the rate ------------------------------------------------------------------------------------


def test_a_service_above_its_rate_waits_loses_nothing_and_slows_nobody_down(slow: Secured) -> None:
    """20,000 messages at 5,000 a second, of which a second's worth is saved up. Another service publishes meanwhile."""
    messages, few = 20_000, 2_000

    async def both() -> tuple[list[int], float, list[int], float]:
        async with (
            asyncio.timeout(120),
            Bus("clearing", network=Network(fabric=slow.fabric())) as there,
            there.subscriber(Order, "orders.x") as orders,
            Bus("trader", network=Network(fabric=slow.fabric())) as trader,
            trader.publisher(Order) as publisher,
        ):
            read: list[int] = []
            began = asyncio.get_running_loop().time()

            async def publish() -> float:
                for first in range(0, messages, 500):
                    await publisher.publish_many(Order("x", n) for n in range(first, first + 500))
                await publisher.flush()
                return asyncio.get_running_loop().time() - began

            async def another() -> tuple[list[int], float]:
                other_began = asyncio.get_running_loop().time()
                other = await legitimate(slow, few)
                return other, asyncio.get_running_loop().time() - other_began

            publishing, others = asyncio.ensure_future(publish()), asyncio.ensure_future(another())
            async for batch in orders.batches():
                read += [message.number for message in batch]
                if len(read) >= messages:
                    break
            return read, await publishing, *await others

    read, seconds, other, other_seconds = asyncio.run(both())
    assert read == list(range(messages))
    assert 2.8 <= seconds < 20
    assert other == list(range(few))
    assert other_seconds < seconds, "whoever keeps to its rate does not wait for who does not"
    assert offences(slow, "trader", "publish rate") == 0


def test_who_does_not_wait_for_confirms_is_refused(slow: Secured) -> None:
    # Many in a frame, or a busy machine sends them no faster than they may come.
    messages, together = 400_000, 100
    payload = b"\xdc" + together.to_bytes(2) + b"\x92\xa1y\x01" * together
    with attacker(zmq.XPUB, str(slow.address.publish), slow.credentials("trader"), xpub_nodrop=1) as peer:
        assert peer.poll(5_000), "the broker subscribes"
        peer.recv()
        source, epoch = source_id("trader"), time.time_ns()
        for sequence in range(1, messages + 1, together):
            peer.send(encode_frame(Envelope("orders.y", 200, together, source, epoch, sequence, 1, payload)))
        peer.linger = 5_000
        until(slow, "trader", "publish rate", 1)
    assert slow.memory < MOST_MIB
    assert slow.broker.process.poll() is None
    assert asyncio.run(legitimate(slow, 2_000)) == list(range(2_000))


# --- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["durable", "group"])
def test_a_service_has_so_many_durable_names_and_groups(slow: Secured, kind: str) -> None:
    def join(number: int) -> bytes:
        name = f"trader.reader-{number}"
        said = Join(number, name, 100, ("ticks.*",), Start.EARLIEST, durable=kind == "durable", group=kind == "group")
        return encode(said)

    before = offences(slow, "trader", "too many readers")
    with attacker(zmq.DEALER, slow.address.control, slow.credentials("trader")) as peer:
        # Until a stream is there, there is nothing of a reader to keep.
        asyncio.run(_publish_one(slow))
        for number in range(10):
            peer.send(join(number))
        until(slow, "trader", "too many readers", before + 8)
        for number in range(2):
            peer.send(join(number))  # it has these: they may come again
        peer.send(join(99))
        until(slow, "trader", "too many readers", before + 9)
    assert offences(slow, "trader", "too many readers") == before + 9


async def _publish_one(at: Secured) -> None:
    async with Bus("feeder", network=Network(fabric=at.fabric())) as feeder, feeder.publisher(Tick) as publisher:
        await publisher.publish(Tick("z", 1))
        await publisher.flush()


# --- memory --------------------------------------------------------------------------------------

TICKS = StreamKey(source_id("trader"), 1, "orders.x")


def announcing_without_end(at: Secured) -> Iterator[bytes]:
    """Streams that it will never publish."""
    return (encode(Announce(StreamKey(source_id("trader"), n, "orders.x"), 1, 2)) for n in range(300_000))


def reporting_streams_that_are_not_there(at: Secured) -> Iterator[bytes]:
    yield encode(Alive(("trader",)))
    yield encode(Join(1, "trader.on_tick", 100, ("ticks.*",), Start.EARLIEST))
    account = Account(0, 1, 1, {})
    for n in range(300):
        rows = tuple(Row(StreamKey(n, m, f"ticks.{n}-{m}"), account) for m in range(1_000))
        yield encode(Report(1, "trader.on_tick", n, False, rows))


def joining_with_patterns_without_end(at: Secured) -> Iterator[bytes]:
    patterns = tuple(f"ticks.{n:0200}" for n in range(5_000))
    for n in range(100):
        yield encode(Join(n, "trader.on_tick", 100, ("ticks.*", *patterns), Start.EARLIEST))


def with_causes_without_end(at: Secured) -> Iterator[bytes]:
    """Of one stream, by many readers."""
    asyncio.run(legitimate(at, 1_000))
    stream = asyncio.run(read_books(at.address, 20, at.credentials("ledger"))).streams[0].stream
    dropped = {f"{n:0100}": 1 for n in range(1_000)}
    for n in range(1_000):
        yield encode(Join(n, "trader.on_tick", 100, ("ticks.*",), Start.EARLIEST))
        yield encode(Report(n, "trader.on_tick", n, False, (Row(stream, Account(0, 1, 1, dropped)),)))


@pytest.mark.parametrize(
    "said",
    [
        announcing_without_end,
        reporting_streams_that_are_not_there,
        joining_with_patterns_without_end,
        with_causes_without_end,
    ],
)
def test_what_a_rogue_says_does_not_stay_in_memory(quick: Secured, said: Callable[[Secured], Iterator[bytes]]) -> None:
    asyncio.run(legitimate(quick, 2_000))
    before = quick.memory
    with attacker(zmq.DEALER, quick.address.control, quick.credentials("trader")) as peer:
        for data in said(quick):
            peer.send(data)
            while peer.poll(0):
                peer.recv()
        # Behind all of it: so it has been heard.
        peer.send(encode(Alive(("feeder",))))
        until(quick, "trader", "another service's name", 1)
        assert quick.memory < before + GROWTH_MIB
    assert asyncio.run(legitimate(quick, 2_000)) == list(range(2_000))


def test_the_prefixes_of_a_rogue_take_no_memory(quick: Secured) -> None:
    """libzmq makes a node of every byte of a prefix before it asks whether that is granted."""
    before = quick.memory
    rogue = quick.processes.start("tests.security.long_prefixes", quick.address.frames, quick.keyring.directory)
    rogue.wait_for("said")
    most = 0.0
    while rogue.process.poll() is None:
        most = max(most, quick.memory)
    assert rogue.process.returncode == 0
    assert most < before + GROWTH_MIB
    assert asyncio.run(legitimate(quick, 2_000)) == list(range(2_000))
