"""Keys and rules that change while a system with keys works: nothing is lost, nobody else notices."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from mycelium.transport.keyring import fingerprint
from tests.processes.running import Processes, Running, processes
from tests.security.system import SERVICES, Secured, attacker, start_secured, tick

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

RATE = 8_000
"""Messages a second, until all has been changed."""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def orders(at: Secured) -> list[int]:
    return [int(line) for line in (at.processes.directory / "orders.txt").read_text().split()]


def working(started: Processes) -> Secured:
    settings = f"[services.feeder]\nmessages = {RATE}\nrate = {RATE}\nuntil = 'enough.txt'\n"
    settings += "[services.clearing]\nfile = 'orders.txt'\n"
    settings += "[delivery.clearing]\nstart = 'earliest'\n[delivery.trader]\nstart = 'earliest'\n"
    return start_secured(started, services=settings)


def rotate(at: Secured, name: str, overlap: str) -> None:
    done = at.command("keys", "rotate", name, "--overlap", overlap, "--keys", at.keyring.directory)
    assert done.returncode == 0, done.stderr


def nothing_is_lost(at: Secured, feeder: Running, trader: Running, clearing: Running) -> None:
    """Enough has been published: all of it comes out at the other end, once and in order."""
    enough = at.processes.directory / "enough.txt"
    enough.touch()
    assert feeder.wait() == 0, feeder.text
    assert trader.end() == 0, trader.text
    assert clearing.end() == 0, clearing.text
    published = int(enough.read_text())
    assert published >= RATE
    assert orders(at) == list(range(published))


def test_keys_and_rules_change_under_load_and_nothing_is_lost(started: Processes) -> None:
    at = working(started)
    old = [at.credentials(name).pair.public for name in SERVICES]
    clearing, trader, feeder = at.run("clearing"), at.run("trader"), at.run("feeder")
    deadline = time.monotonic() + 60
    while not (at.processes.directory / "orders.txt").exists() or len(orders(at)) < 100:
        assert time.monotonic() < deadline, trader.text + feeder.text + at.broker.text
    for name, process in (("clearing", clearing), ("trader", trader), ("feeder", feeder)):
        rotate(at, name, "2s")
        process.wait_for("connected anew with other keys")
    rotate(at, "broker", "1h")
    at.broker.wait_for("the broker has another key")
    spec = at.processes.directory / "system.yaml"
    spec.write_text(spec.read_text() + "  auditor:\n    asks: [books]\n")
    at.broker.wait_for("goes by the keys and rules as they are now")
    nothing_is_lost(at, feeder, trader, clearing)
    assert at.broker.end() == 0
    for key in old:
        assert f"#{fingerprint(key)}" in at.broker.text, "the overlap is over"


def test_services_find_a_broker_whose_key_was_replaced(started: Processes) -> None:
    """They keep the connections that they have. When these break, they try the new key, which the old one announces."""
    at = working(started)
    clearing, trader, feeder = at.run("clearing"), at.run("trader"), at.run("feeder")
    deadline = time.monotonic() + 60
    while not (at.processes.directory / "orders.txt").exists() or len(orders(at)) < 100:
        assert time.monotonic() < deadline, trader.text + feeder.text
    rotate(at, "broker", "1h")
    at.broker.wait_for("the broker has another key")
    assert at.broker.end() == 0
    again = started.start("mycelium", "broker", "--config", at.config)
    again.wait_for("ready")
    nothing_is_lost(at, feeder, trader, clearing)


def test_a_key_that_is_over_ends_its_connections_and_opens_nothing(started: Processes) -> None:
    at = start_secured(started)
    old = at.credentials("trader")
    with (
        attacker(zmq.SUB, at.address.frames, old) as reader,
        attacker(zmq.XPUB, str(at.address.publish), at.credentials("feeder")) as feeder,
    ):
        reader.subscribe(b"ticks.")
        assert feeder.poll(5_000)
        feeder.recv()
        sequence = 0
        deadline = time.monotonic() + 10
        while not reader.poll(50):
            assert time.monotonic() < deadline, "it is let in"
            sequence += 1
            feeder.send(tick(sequence))
        rotate(at, "trader", "0s")
        at.broker.wait_for("a key is not accepted any more")
        while reader.poll(200):
            reader.recv()
        for number in range(sequence + 1, sequence + 50):
            feeder.send(tick(number))
        assert not reader.poll(1_500), "nothing comes any more"


def test_a_service_that_is_taken_off_the_list_is_cut_off(started: Processes) -> None:
    """Its key is still there; system.yaml does not name it any more."""
    at = start_secured(started)
    with attacker(zmq.XPUB, str(at.address.publish), at.credentials("feeder")) as feeder:
        assert feeder.poll(5_000)
        feeder.recv()
        spec = at.processes.directory / "system.yaml"
        text = spec.read_text()
        start, end = text.index("  feeder:"), text.index("  trader:")
        spec.write_text((text[:start] + text[end:]).replace("publishes: [Order]", "publishes: [Order, Tick]"))
        at.broker.wait_for("a key is not accepted any more")
        at.broker.wait_for("goes by the keys")
        feeder.send(tick(1))
        deadline = time.monotonic() + 10
        while "unknown key" not in (said := at.command("ledger", "--config", at.config, "--json").stdout):
            assert time.monotonic() < deadline, said


def test_a_reader_that_may_read_less_gets_less_and_nobody_else_notices(started: Processes) -> None:
    """What was granted before the rules changed is not granted for ever."""
    at = start_secured(started)
    with (
        attacker(zmq.SUB, at.address.frames, at.credentials("trader")) as reader,
        attacker(zmq.XPUB, str(at.address.publish), at.credentials("feeder")) as feeder,
    ):
        reader.subscribe(b"ticks.x\0")
        reader.subscribe(b"ticks.y\0")
        assert feeder.poll(5_000)
        feeder.recv()
        numbers = itertools.count(1)
        assert heard_of(reader, feeder, numbers) == {b"ticks.x", b"ticks.y"}
        spec = at.processes.directory / "system.yaml"
        spec.write_text(
            spec.read_text().replace("subscribes: [Tick]", "subscribes: [{contract: Tick, pattern: ticks.y}]")
        )
        at.broker.wait_for("goes by the keys and rules as they are now")
        assert heard_of(reader, feeder, numbers) == {b"ticks.y"}


def heard_of(reader: zmq.Socket[bytes], feeder: zmq.Socket[bytes], numbers: Iterator[int]) -> set[bytes]:
    """On which topics the reader hears what the feeder says from now on. It has been heard on ticks.y when it ends."""
    while reader.poll(100):
        reader.recv()
    heard: set[bytes] = set()
    deadline = time.monotonic() + 20
    while b"ticks.y" not in heard:
        assert time.monotonic() < deadline, heard
        number = next(numbers)
        # x first: when y has come, x would have.
        for topic in ("ticks.x", "ticks.y"):
            feeder.send(tick(number, topic=topic))
        while reader.poll(50):
            heard.add(reader.recv().partition(b"\0")[0])
    return heard


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda at: (at.processes.directory / "system.yaml").write_text("system: [", encoding="utf-8"), "is not YAML"),
        (lambda at: (at.keyring.directory / "trader.key").write_text("no key"), "has no line public-key"),
        (lambda at: (at.keyring.directory / "broker.key_secret").unlink(), "cannot be read"),
        (lambda at: (at.keyring.directory / "broker.key_secret").chmod(0o644), "chmod 600"),
    ],
    ids=["spec", "public key", "own key gone", "own key open to others"],
)
def test_what_is_wrong_is_said_and_the_old_keys_and_rules_stay(
    started: Processes, break_it: Callable[[Secured], object], says: str
) -> None:
    at = start_secured(started)
    credentials = at.credentials("feeder")
    break_it(at)
    (at.keyring.directory / "ledger.key").touch()
    assert says in at.broker.wait_for("are not taken up")
    with attacker(zmq.XPUB, str(at.address.publish), credentials) as feeder:
        assert feeder.poll(5_000), "it is let in as before"
    assert at.broker.end() == 0
