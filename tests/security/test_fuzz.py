"""Bytes at each port of a running broker with keys, by the hundred thousand: from strangers, and from a rogue service.

A test that fails says the seed that repeats it: ``FUZZ_SEED=1 pytest tests/security/test_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mycelium.core.delivery.control import AskBooks, Books, Offence, encode, from_client, from_store
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import AccessError, WireError
from mycelium.spec.access import access_of
from mycelium.spec.model import load_spec
from mycelium.transport.guard import NOT_GRANTED, Guard, user_of
from mycelium.transport.keyring import fingerprint
from tests.chaos.controller import REPOSITORY
from tests.processes.running import processes
from tests.security.mutations import Generator, inputs, publications, requests, subscriptions
from tests.security.system import Secured, attacker, count, legitimate, start_secured
from tests.unit.transport.test_store_fuzz import words

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

INPUTS = 100_000
MESSAGES = 20_000
MOST_MIB = 200
HERE = "127.0.0.1"
ROGUE = "trader"
SEED = int(os.environ.get("FUZZ_SEED") or random.randrange(1 << 32))

CONTROL_REFUSED, FRAME_REFUSED = "control message refused", "frame refused"

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(72)
"""The beginning of the first command of a client."""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with processes(tmp_path_factory.mktemp("fuzzed")) as started:
        yield start_secured(started, "handshakes = 64\nconnections = 300\n")


@pytest.fixture(autouse=True)
def _nothing_was_our_fault(secured: Secured) -> Iterator[None]:
    yield
    assert secured.broker.process.poll() is None, secured.broker.text
    for text in ("could not be handled", "Traceback", "a tick failed", "Exception in callback"):
        assert text not in secured.broker.text, f"FUZZ_SEED={SEED}: {secured.broker.text}"
    assert secured.memory < MOST_MIB, f"FUZZ_SEED={SEED}"


class Operator:
    """Asks a broker for its books, over one connection."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def offences(self) -> tuple[Offence, ...]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            self._socket.send(encode(AskBooks(0)))
            if self._socket.poll(5_000) and isinstance(said := from_store(self._socket.recv()), Books):
                return said.offences
        raise AssertionError(f"FUZZ_SEED={SEED}: the books are not shown")

    def until(self, before: tuple[Offence, ...], expected: dict[tuple[str, str], int]) -> Counter[tuple[str, str]]:
        """What has been refused since then, when at least this has."""
        deadline = time.monotonic() + 60
        while True:
            now = self.offences()
            found = Counter({key: count(now, *key) - count(before, *key) for key in {(o.who, o.cause) for o in now}})
            if all(found[key] >= number for key, number in expected.items()):
                return +found
            assert time.monotonic() < deadline, f"FUZZ_SEED={SEED}: {found}, expected {expected}"


@pytest.fixture
def operator(secured: Secured) -> Iterator[Operator]:
    with attacker(zmq.DEALER, secured.address.control, secured.credentials("ledger")) as peer:
        yield Operator(peer)


def meanwhile(at: Secured, attack: Callable[[], None]) -> None:
    """A legitimate stream passes while somebody attacks; it is whole and in order."""

    async def both() -> list[int]:
        attacking = asyncio.create_task(asyncio.to_thread(attack))
        read = await legitimate(at, MESSAGES)
        await attacking
        return read

    assert asyncio.run(both()) == list(range(MESSAGES)), f"FUZZ_SEED={SEED}"


# --- a rogue with a key ------------------------------------------------------------------------


def guard_of(at: Secured) -> tuple[Guard, str]:
    """What the broker should judge by, and whom."""
    user = user_of(ROGUE, fingerprint(at.credentials(ROGUE).pair.public))
    return Guard(access_of(load_spec(at.processes.directory / "system.yaml")), [user]), user


def refused_frames(at: Secured, data: Iterator[bytes]) -> Counter[str]:
    guard, user = guard_of(at)
    expected: Counter[str] = Counter()
    for frame in data:
        try:
            said = decode_frame(frame)
        except WireError:
            expected[FRAME_REFUSED] += 1
            continue
        cause = guard.why_not_publish(user, said.source, said.type_id, said.topic)
        if cause is not None:
            expected[cause] += said.count
    return expected


def refused_subscriptions(at: Secured, data: Iterator[bytes]) -> Counter[str]:
    guard, user = guard_of(at)
    # libzmq itself says that a subscription is over, and only if it is.
    said = (one for one in data if one[:1] != b"\0")
    return Counter(NOT_GRANTED for one in said if not guard.may_subscribe(user, one[1:]))


def refused_requests(at: Secured, data: Iterator[bytes]) -> Counter[str]:
    guard, user = guard_of(at)
    expected: Counter[str] = Counter()
    for one in data:
        try:
            guard.judged(user, from_client(one))
        except WireError:
            expected[CONTROL_REFUSED] += 1
        except AccessError as error:
            expected[error.cause] += 1
    return expected


@pytest.mark.parametrize(
    ("kind", "port", "generator", "expect", "exactly"),
    [
        (zmq.XPUB, "publish", publications, refused_frames, {FRAME_REFUSED}),
        (zmq.XSUB, "frames", subscriptions, refused_subscriptions, {NOT_GRANTED}),
        (zmq.DEALER, "control", requests, refused_requests, set()),
    ],
    ids=["publish", "frames", "control"],
)
def test_what_a_rogue_says_is_refused_counted_and_attributed(
    secured: Secured,
    operator: Operator,
    kind: int,
    port: str,
    generator: Generator,
    expect: Callable[[Secured, Iterator[bytes]], Counter[str]],
    exactly: set[str],
) -> None:
    expected = expect(secured, inputs(generator, SEED, INPUTS))
    assert expected.total() > INPUTS / 4
    before = operator.offences()
    done = threading.Event()

    def attack() -> None:
        options = {"xpub_nodrop": 1} if kind == zmq.XPUB else {"sndhwm": 0} if kind == zmq.XSUB else {}
        with attacker(kind, str(getattr(secured.address, port)), secured.credentials(ROGUE), **options) as peer:
            if kind == zmq.XPUB:
                assert peer.poll(5_000), "the broker subscribes"
                peer.recv()
            for data in inputs(generator, SEED, INPUTS):
                peer.send(data)
                if kind != zmq.XPUB:
                    while peer.poll(0):
                        peer.recv()
            assert done.wait(90), "what was said has arrived"

    def arrive() -> None:
        attacking = threading.Thread(target=attack)
        attacking.start()
        try:
            found = operator.until(before, {(ROGUE, cause): number for cause, number in expected.items()})
        finally:
            done.set()
            attacking.join()
        for cause in exactly:
            assert found[ROGUE, cause] == expected[cause], f"FUZZ_SEED={SEED}"
        assert {who for who, _ in found} == {ROGUE}, f"FUZZ_SEED={SEED}: nobody else is blamed: {found}"

    meanwhile(secured, arrive)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.binary(max_size=300) | st.binary(max_size=60).map(b"orders.x\0MY\x01\0".__add__), max_size=20),
    st.lists(st.binary(max_size=300).map(b"\1".__add__), max_size=20),
    words,
)
def test_whatever_a_rogue_says_everybody_else_is_served(
    secured: Secured, operator: Operator, frames: list[bytes], prefixes: list[bytes], said: list[bytes]
) -> None:
    credentials = secured.credentials(ROGUE)
    with (
        attacker(zmq.XPUB, str(secured.address.publish), credentials) as publisher,
        attacker(zmq.XSUB, secured.address.frames, credentials) as reader,
        attacker(zmq.DEALER, secured.address.control, credentials) as client,
    ):
        assert publisher.poll(5_000)
        before = operator.offences()
        for peer, data in ((publisher, frames), (reader, prefixes), (client, said)):
            for one in data:
                peer.send(one)
        expected = refused_frames(secured, iter(frames)) + refused_requests(secured, iter(said))
        expected += refused_subscriptions(secured, iter(set(prefixes)))
        operator.until(before, {(ROGUE, cause): number for cause, number in expected.items()})
    assert "could not be handled" not in secured.broker.text


# --- strangers -----------------------------------------------------------------------------------


def stranger_says(port: int, rng: random.Random, strings: int) -> None:
    """Connect, and say strings until the other side hangs up; some of them behind what a client of ours would say."""
    with socket.create_connection((HERE, port), timeout=5) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = (b"", GREETING, GREETING + HELLO, GREETING[: rng.randint(1, len(GREETING))])[rng.randrange(4)]
        try:
            peer.sendall(begin)
            for _ in range(strings):
                peer.send(rng.randbytes(rng.randint(1, 40)))
        except OSError:
            return


@pytest.mark.parametrize("port", ["publish", "frames", "control"])
def test_bytes_of_strangers_are_refused_and_counted(secured: Secured, operator: Operator, port: str) -> None:
    connections = 1_500
    number = int(str(getattr(secured.address, port)).rpartition(":")[2])
    before = operator.offences()

    def attack() -> None:
        rng = random.Random(SEED)
        for _ in range(connections):
            stranger_says(number, rng, INPUTS // connections + 1)

    meanwhile(secured, attack)
    # Who is gone before we look has no address any more.
    deadline = time.monotonic() + 20
    while True:
        now = operator.offences()
        found = sum(o.count for o in now) - sum(o.count for o in before)
        if found >= connections * 0.9:
            break
        assert time.monotonic() < deadline, f"FUZZ_SEED={SEED}: {now}"
    blamed = {o.who for o in now if o not in before}
    assert blamed <= {HERE, "address unknown"}, f"FUZZ_SEED={SEED}: {blamed}"


# --- led by coverage -----------------------------------------------------------------------------


def test_nothing_is_raised_whatever_coverage_leads_to(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed; it has wheels for CPython 3.11 on Linux x86_64")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for port, generator in ((0, publications), (1, subscriptions), (2, requests)):
        for number, data in enumerate(inputs(generator, SEED, 300)):
            (corpus / f"{port}-{number}").write_bytes(bytes([port]) + data)
    arguments = [f"-seed={SEED or 1}", "-runs=300000", "-max_total_time=40", "-max_len=600", "-rss_limit_mb=900"]
    command = [sys.executable, "-m", "tests.security.fuzz_parsing", *arguments, f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [*command, str(corpus)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "Instrumenting" not in line]
    text = "\n".join(said[-60:])
    assert done.returncode == 0, f"repeat it with: {' '.join(command[:3])} FILE, where FILE is named here:\n{text}"
    assert any(line.startswith("Done ") for line in said), text
