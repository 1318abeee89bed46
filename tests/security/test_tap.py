"""``mycelium tap`` at a broker with keys: what the operator is granted, and nothing else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.transport.keyring import Keyring
from tests.processes.running import processes
from tests.security import system
from tests.security.system import Secured, start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

GRANTED = "  tap:\n    subscribes: [Tick]\n"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secured]:
    """A broker whose operator ``tap`` may read ticks, and a feeder that publishes them."""
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__READY_SECONDS", "1")  # nobody else comes to read
    monkeypatch.setattr(system, "SPEC", system.SPEC + GRANTED)
    Keyring(tmp_path / "keys").create("tap", time.time())
    with processes(tmp_path) as started:
        found = start_secured(started, services="[services.feeder]\nmessages = 10000000\nrate = 100\n")
        found.run("feeder")
        yield found


def tap(at: Secured, *options: str) -> tuple[int, str]:
    done = at.command("tap", "--config", at.config, *options)
    return done.returncode, done.stdout + done.stderr


def test_what_is_granted_is_shown(at: Secured) -> None:
    code, said = tap(at, "--count", "3")
    assert (code, said.count(" ticks.x feeder#")) == (0, 3), said
    assert "reading Tick on >" in said
    code, said = tap(at, "ticks.x", "--from", "earliest", "--count", "2")
    assert code == 0, said
    assert "feeder#1 Tick venue=x number=0\n" in said
    assert "feeder#2 Tick venue=x number=1\n" in said
    # Nothing of it was refused, and nothing of it is left at the broker.
    done = at.command("ledger", "--config", at.config)
    assert "tap" not in done.stdout, done.stdout


def test_what_is_not_granted_is_refused_with_a_sentence(at: Secured) -> None:
    for options, sentence in (
        (("orders.x",), "may not read Order on orders.x: system.yaml lets it read none of it"),
        ((">",), "may not read Order on >"),
        (("--type", "Order"), "system.yaml lets it read Tick on ticks.*; that is not Order on >"),
        (("--as", "ledger"), "system.yaml lets it read nothing"),
        (("--as", "nobody"), "nobody.key_secret: cannot be read"),
    ):
        code, said = tap(at, *options)
        assert code == 2, said
        assert sentence in said
        assert len(said.splitlines()) == 1, said


def test_the_broker_has_the_last_word(at: Secured) -> None:
    """Whoever changes the system.yaml on their own host gets no more than the broker's says."""
    elsewhere = at.processes.directory / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "system.yaml").write_text(system.SPEC.replace("subscribes: [Tick]\n", "subscribes: [Tick, Order]\n"))
    (elsewhere / "distributed.toml").write_text(at.config.read_text())
    (elsewhere / "keys").symlink_to(at.processes.directory / "keys")
    done = at.command("tap", "orders.x", "--config", elsewhere / "distributed.toml", "--seconds", "2")
    assert done.returncode == 1, done.stderr
    assert "may go by another system.yaml, which lets tap read less" in done.stderr


def test_a_key_that_the_broker_does_not_know(at: Secured) -> None:
    elsewhere = at.processes.directory / "elsewhere"
    elsewhere.mkdir()
    keyring = Keyring(elsewhere / "keys")
    keyring.create("tap", time.time())
    (elsewhere / "keys" / "broker.key").write_bytes((at.processes.directory / "keys" / "broker.key").read_bytes())
    (elsewhere / "system.yaml").write_text(system.SPEC)
    (elsewhere / "distributed.toml").write_text(at.config.read_text())
    done = at.command("tap", "--config", elsewhere / "distributed.toml", "--seconds", "1")
    assert done.returncode == 1, done.stderr
    assert "does it accept tap?" in done.stderr


def test_it_ends_with_ctrl_c(at: Secured) -> None:
    process = at.processes.start("mycelium", "tap", "--config", at.config)
    process.wait_for("ticks.x")
    assert process.end(signal.SIGINT) == 0
    assert " message" in process.said[-1]
