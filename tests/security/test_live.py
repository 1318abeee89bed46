"""``mycelium spec check --live`` against a secured broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.running import Processes, processes
from tests.security.system import Secured, start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def check(at: Secured, *options: str) -> tuple[int, str]:
    done = at.command("spec", "check", "--live", "--config", at.config, *options)
    return done.returncode, done.stdout + done.stderr


def until(at: Secured, code: int, text: str) -> str:
    """Check until it ends so: a service takes a while to join."""
    deadline = time.monotonic() + 60
    while True:
        found, said = check(at)
        if found == code and text in said:
            return said
        assert time.monotonic() < deadline, said + at.broker.text


def test_what_runs_is_what_the_spec_says_and_a_rogue_is_named(started: Processes) -> None:
    settings = "[services.feeder]\nmessages = 10000000\nrate = 100\n[services.clearing]\nfile = 'orders.txt'\n"
    at = start_secured(started, services=settings)
    clearing, trader, feeder = at.run("clearing"), at.run("trader"), at.run("feeder")
    until(at, 0, "the running system is what system.yaml says: 3 services")
    # One of them ends.
    assert clearing.end() == 0
    said = until(at, 1, "clearing: is not there")
    assert len(said.splitlines()) == 1, said
    # One of them was built to publish more than it may.
    assert feeder.end() == 0
    at.config.write_text(at.config.read_text().replace("rate = 100\n", "rate = 100\nalso_audit = true\n"))
    at.run("clearing")
    at.run("feeder")
    said = until(at, 1, "feeder: was refused once: not its topic to publish: audit.x of type id 300")
    # One of them reads more than it may.
    spec = at.processes.directory / "system.yaml"
    spec.write_text(spec.read_text().replace("subscribes: [Tick]", "subscribes: [{contract: Tick, pattern: ticks.y}]"))
    at.broker.wait_for("goes by the keys and rules as they are now")
    assert "trader: reads Tick on ticks.* as 'trader.on_tick'; system.yaml lets it read Tick on ticks.y" in check(at)[1]
    assert trader.end() == 0


def test_only_an_operator_may_ask(started: Processes) -> None:
    at = start_secured(started)
    code, said = check(at, "--as", "trader", "--seconds", "1")
    assert (code, "does it accept trader?" in said) == (1, True), said
    code, said = check(at, "--as", "nobody")
    assert (code, "nobody.key_secret: cannot be read" in said) == (2, True), said
