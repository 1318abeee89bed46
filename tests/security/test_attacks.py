"""Every attack that docs/explanations/security.md speaks of, against a running broker over tcp.

While each goes on, a legitimate stream passes: it must be delivered whole. Afterwards the broker must have refused,
counted, and said by whom; and it must not have grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import zmq

from mycelium.core.delivery.control import (
    Alive,
    Announce,
    AskBooks,
    AskMarks,
    AskWho,
    Fetch,
    FromClient,
    Join,
    encode,
)
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import DEFAULT_MAX_FRAME, Envelope, encode_frame, source_id
from mycelium.transport.books import read_books
from mycelium.transport.curve import client_options
from mycelium.transport.door import UNKNOWN
from mycelium.transport.keyring import Credentials
from tests.processes.running import processes
from tests.security.system import Secured, attacker, count, legitimate, start_secured, tick

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

MESSAGES = 100_000
HERE = "127.0.0.1"
MOST_MIB = 200
"""The broker has some 60 without clients."""

TICKS = StreamKey(source_id("feeder"), 7, "ticks.x")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with processes(tmp_path_factory.mktemp("secured")) as started:
        limits = "connections_each = 40\nhandshakes = 64\nconnections = 300\nsubscriptions_each = 1000\n"
        yield start_secured(started, limits)


# --- the attacks, each in a thread of its own ------------------------------------------------------


def without_key(at: Secured) -> None:
    for endpoint in (at.address.frames, at.address.control, str(at.address.publish)):
        with attacker(zmq.DEALER, endpoint, None) as peer:
            peer.send(encode(AskBooks(0)), zmq.DONTWAIT)
            assert not peer.poll(200), "nothing is answered"


def _strangers(at: Secured) -> Credentials:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return Credentials(
        "stranger", type(at.credentials("feeder").pair)(public, secret), at.credentials("feeder").servers
    )


def with_unknown_key(at: Secured) -> None:
    with attacker(zmq.DEALER, at.address.control, _strangers(at)) as peer:
        peer.send(encode(AskBooks(0)), zmq.DONTWAIT)
        assert not peer.poll(300), "nothing is answered"
    with attacker(zmq.SUB, at.address.frames, _strangers(at)) as reader:
        reader.subscribe(b"")
        assert not reader.poll(300), "nothing is sent"


def taking_another_for_the_broker(at: Secured) -> None:
    """A server that has not the broker's key, or a client that was given another one: no connection comes about."""
    known = at.credentials("trader")
    wrong = Credentials("trader", known.pair, (known.pair.public,))
    with attacker(zmq.DEALER, at.address.control, wrong) as peer:
        peer.send(encode(Alive(("trader",))), zmq.DONTWAIT)
        assert not peer.poll(300), "nothing is answered"


def _publish(at: Secured, name: str, *frames: bytes) -> None:
    with attacker(zmq.XPUB, str(at.address.publish), at.credentials(name)) as peer:
        assert peer.poll(5_000), "the broker subscribes"
        peer.recv()
        for frame in frames:
            peer.send(frame)
        peer.linger = 5_000


def publishing_a_foreign_topic(at: Secured) -> None:
    """Declared by another, declared by nobody, of a declared contract on another topic, and the fabric's own."""
    _publish(
        at,
        "trader",
        tick(1, source="trader"),
        tick(1, topic="unknown.x", type_id=300, source="trader"),
        tick(1, topic="ticks.x", type_id=200, source="trader"),
        tick(1, topic="_sys.tick.feeder", type_id=200, source="trader"),
        tick(1, topic="_sys.dead.feeder.on_tick", type_id=65281, source="trader"),
    )


def publishing_under_anothers_name(at: Secured) -> None:
    """Replayed frames of the feeder's, and forged ones of a later incarnation."""
    now = time.time_ns()
    _publish(at, "trader", *(tick(n, source="feeder", epoch=now) for n in range(1, 101)))


def _subscribe(at: Secured, name: str, *prefixes: bytes) -> None:
    with attacker(zmq.SUB, at.address.frames, at.credentials(name)) as reader:
        for prefix in prefixes:
            reader.subscribe(prefix)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if reader.poll(100):
                raise AssertionError(f"{name} was sent {reader.recv()[:60]!r}")


def subscribing_to_a_foreign_topic(at: Secured) -> None:
    _subscribe(at, "clearing", b"ticks.x\0", b"ticks.")


def subscribing_to_a_broader_prefix(at: Secured) -> None:
    _subscribe(at, "clearing", b"", b"o", b"orders", b"t")


def subscribing_to_the_fabrics_own(at: Secured) -> None:
    _subscribe(at, "clearing", b"_sys.", b"_sys.tick\0", b"_sys.tick.trader\0", b"_sys.probe.", b"_sys.dead.")


def _say(at: Secured, name: str, *said: FromClient) -> None:
    with attacker(zmq.DEALER, at.address.control, at.credentials(name)) as peer:
        for one in said:
            peer.send(encode(one))
        assert not peer.poll(500), "nothing is answered"


def asking_for_foreign_frames(at: Secured) -> None:
    """Repair, replay from the beginning, and how far streams reach."""
    join = Join(1, "clearing.all", 100, ("ticks.*", "ticks.*"), Start.EARLIEST)
    broader = Join(2, "clearing.all", 200, (">",), Start.EARLIEST, durable=True)
    marks = AskMarks(1, 1, 100, ("ticks.*",))
    _say(at, "clearing", Fetch(1, TICKS, 1, 64), join, broader, marks)


def asking_what_is_for_operators(at: Secured) -> None:
    _say(at, "trader", AskBooks(0), AskWho(0))


def speaking_for_another(at: Secured) -> None:
    _say(at, "trader", Alive(("feeder",)), Announce(TICKS, 1, 1_000_000))


def sending_what_is_too_large(at: Secured) -> None:
    """A little above the limit it is counted; far above libzmq ends the connection before it has it all."""
    oversized = encode_frame(
        Envelope("orders.x", 200, 1, source_id("trader"), 1, 1, 1, bytes(DEFAULT_MAX_FRAME)), max_frame=2 << 20
    )
    _publish(at, "trader", oversized)
    with contextlib.suppress(AssertionError):
        _publish(at, "trader", bytes(100 << 20))


def subscribing_without_end(at: Secured) -> None:
    with attacker(zmq.SUB, at.address.frames, at.credentials("trader"), sndhwm=0) as reader:
        for n in range(20_000):
            reader.subscribe(b"ticks.flood%d\0" % n)
        reader.poll(2_000)


def asking_for_repairs_without_end(at: Secured) -> None:
    with attacker(zmq.DEALER, at.address.control, at.credentials("trader"), sndhwm=0) as peer:
        for n in range(20_000):
            peer.send(encode(Fetch(n, TICKS, 1, 64)))
        peer.linger = 3_000


def connecting_without_end(at: Secured) -> None:
    """Two thousand connections that say nothing, as many at once as the broker lets stand."""
    host, _, port = at.address.frames.removeprefix("tcp://").rpartition(":")
    with contextlib.ExitStack() as held:
        for _ in range(2_000):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_connection((host, int(port)), timeout=1))


def connecting_without_end_with_a_key(at: Secured) -> None:
    with zmq.Context() as context, contextlib.ExitStack() as held:
        for _ in range(200):
            peer = held.enter_context(context.socket(zmq.DEALER))
            peer.linger = 0
            credentials = at.credentials("trader")
            for number, value in client_options(credentials, credentials.servers[0]).items():
                peer.setsockopt(number, value)
            peer.connect(at.address.control)
            peer.send(encode(Alive(("trader",))))
        peer.poll(3_000)


def taking_ones_time_with_the_handshake(at: Secured) -> None:
    """A byte now and then: libzmq ends it after four seconds, however much has come by then."""
    host, _, port = at.address.control.removeprefix("tcp://").rpartition(":")
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(socket.create_connection((host, int(port)))) for _ in range(30)]
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(50)
        began = time.monotonic()
        for byte in greeting:
            for one in slow[:]:
                try:
                    one.send(bytes([byte]))
                    one.settimeout(0.005)
                    if one.recv(100) == b"":
                        slow.remove(one)
                except TimeoutError:
                    pass
                except OSError:
                    slow.remove(one)
            if not slow:
                break
        assert not slow, "all have been ended"
        assert time.monotonic() - began < 20


@dataclass(frozen=True)
class Row:
    """One attack, and what the broker must say of it."""

    attack: Callable[[Secured], None]
    who: str
    cause: str
    at_least: int


TABLE = [
    Row(without_key, HERE, "handshake not completed", 3),
    Row(with_unknown_key, HERE, "unknown key", 2),
    Row(taking_another_for_the_broker, HERE, "handshake not completed", 1),
    Row(publishing_a_foreign_topic, "trader", "not its topic to publish", 5),
    Row(publishing_under_anothers_name, "trader", "another service's name", 100),
    Row(subscribing_to_a_foreign_topic, "clearing", "subscription not granted", 2),
    Row(subscribing_to_a_broader_prefix, "clearing", "subscription not granted", 4),
    Row(subscribing_to_the_fabrics_own, "clearing", "subscription not granted", 5),
    Row(asking_for_foreign_frames, "clearing", "not its topic to read", 4),
    Row(asking_what_is_for_operators, "trader", "for operators only", 2),
    Row(speaking_for_another, "trader", "another service's name", 2),
    Row(sending_what_is_too_large, "trader", "frame refused", 1),
    Row(subscribing_without_end, "trader", "subscription refused", 18_000),
    Row(asking_for_repairs_without_end, "trader", "too many repair requests", 100),
    Row(connecting_without_end, HERE, "too many handshakes", 1_000),
    Row(connecting_without_end_with_a_key, "trader", "too many connections", 100),
    Row(taking_ones_time_with_the_handshake, HERE, "handshake not completed", 30),
]


async def offences(at: Secured, row: Row) -> int:
    books = await read_books(at.address, 20, at.credentials("ledger"))
    # A connection may be over before anybody could ask the system where it came from.
    known_as = (row.who, UNKNOWN) if row.who == HERE else (row.who,)
    return sum(count(books.offences, who, row.cause) for who in known_as)


@pytest.mark.parametrize("row", TABLE, ids=[row.attack.__name__ for row in TABLE])
def test_an_attack_is_refused_counted_and_attributed(secured: Secured, row: Row) -> None:
    async def all_at_once() -> list[int]:
        attacking = asyncio.create_task(asyncio.to_thread(row.attack, secured))
        read = await legitimate(secured, MESSAGES)
        await attacking
        return read

    before = asyncio.run(offences(secured, row))
    assert asyncio.run(all_at_once()) == list(range(MESSAGES)), "the legitimate stream is whole and in order"
    deadline = time.monotonic() + 20
    while (refused := asyncio.run(offences(secured, row)) - before) < row.at_least:
        assert time.monotonic() < deadline, f"{row.who}: {row.cause}: {refused} times, expected {row.at_least}"
    assert secured.memory < MOST_MIB
    assert secured.broker.process.poll() is None
