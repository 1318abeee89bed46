"""Statistics at a broker with keys: every process says its own, and who may read them does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mycelium.core.delivery.control import Offence
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.core.message import PayloadCodec
from mycelium.core.topics import Pattern
from mycelium.core.unbooked import STATISTICS_TYPE_ID
from mycelium.observe.figures import Figures
from mycelium.observe.statistics import ProcessStatistics, Watch, statistics_of
from mycelium.transport.books import read_books
from mycelium.transport.guard import FOREIGN_NAME
from mycelium.transport.keyring import Keyring
from mycelium.transport.tap import Tap
from tests.processes.running import processes
from tests.security import system
from tests.security.system import SERVICES, Secured, attacker, count, start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

GRANTED = "  top:\n    subscribes: [ProcessStatistics]\n    asks: [books]\n  tap:\n    subscribes: [Tick]\n"
TOPICS = "_sys.stats.*"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secured]:
    """A broker and all services, of which one publishes for long."""
    monkeypatch.setattr(system, "SPEC", system.SPEC + GRANTED)
    for name in ("top", "tap"):
        Keyring(tmp_path / "keys").create(name, time.time())
    with processes(tmp_path) as started:
        found = start_secured(started, services="[services.feeder]\nmessages = 10000000\nrate = 100\n")
        for name in SERVICES:
            found.run(name)
        yield found


async def heard(at: Secured, operator: str, names: set[str]) -> Watch:
    """What an operator reads, until there are two messages of each of these processes."""
    watch, codec = Watch(), PayloadCodec(ProcessStatistics)
    prefix = Pattern.parse(TOPICS).prefix
    async with (
        asyncio.timeout(60),
        Tap((at.address,), [prefix], lambda *_: True, credentials=at.credentials(operator)) as tap,
    ):
        assert await tap.silent(30) == []
        assert await tap.begin([(STATISTICS_TYPE_ID, (TOPICS,))], Start.NEW, 0, 5) == []
        async for batch in tap.batches():
            for seen in batch:
                assert seen.envelope.type_id == STATISTICS_TYPE_ID
                for message in codec.decode(seen.envelope.payload, seen.envelope.count):
                    watch.take(message, 0)
            changes = watch.changes()
            if all(name in changes and changes[name].before is not None for name in names):
                break
    return watch


def test_the_operator_hears_all_processes_and_the_broker(at: Secured) -> None:
    watch = asyncio.run(heard(at, "top", {*SERVICES, "broker"}))
    assert watch.changes()["feeder"].rates("mycelium_published_messages", "contract")["Tick",] > 5
    assert watch.changes()["broker"].now.value("mycelium_ready", part="broker") == 1
    books = asyncio.run(read_books(at.address, 30, at.credentials("ledger")))
    assert {book.stream.topic.partition(".")[0] for book in books.streams} == {"ticks", "orders"}
    assert books.refused == {}


def test_who_may_not_read_them_does_not(at: Secured) -> None:
    async def ask() -> list[str]:
        wishes = [(STATISTICS_TYPE_ID, (TOPICS,))]
        async with Tap((at.address,), [b"ticks."], lambda *_: True, credentials=at.credentials("tap")) as tap:
            assert await tap.silent(30) == []
            return [store.name for store in await tap.begin(wishes, Start.NEW, 0, 2)]

    assert asyncio.run(ask()) == ["broker"]


def test_nobody_speaks_for_another(at: Secured) -> None:
    """The source is what a key says. What the message says of the process is not: any service may run in any."""
    codec = PayloadCodec(ProcessStatistics)
    payload = codec.encode([statistics_of("feeder", 2**62, 1, "evil", Figures())])
    frames = {
        source: encode_frame(Envelope("_sys.stats.feeder", STATISTICS_TYPE_ID, 1, source_id(source), 7, 1, 1, payload))
        for source in ("feeder", "broker")
    }
    assert at.address.publish is not None
    with attacker(zmq.XPUB, at.address.publish, at.credentials("trader")) as socket:
        assert socket.recv() == b"\x01"
        for frame in frames.values():
            socket.send(frame)
        offences: tuple[Offence, ...] = ()
        for _ in range(100):
            books = asyncio.run(read_books(at.address, 30, at.credentials("ledger")))
            offences = books.offences
            if count(offences, "trader", FOREIGN_NAME) >= 2:
                break
    assert count(offences, "trader", FOREIGN_NAME) == 2, offences
    watch = asyncio.run(heard(at, "top", {"feeder"}))
    assert watch.changes()["feeder"].now.version != "evil"
