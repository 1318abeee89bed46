"""What a broker and its services write: no secret key, at the most talkative level; and that they have none, if so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mycelium.transport.keyring import Credentials, KeyPair
from mycelium.transport.ports import free_ports
from tests.processes.running import Processes, Running, processes
from tests.security.system import SERVICES, SPEC, attacker, start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(200)]

MESSAGES = 500


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def secrets(directory: Path) -> set[str]:
    return {
        found[1]
        for path in directory.rglob("*.key_secret")
        if (found := re.search(r'secret-key = "(.*)"', path.read_text())) is not None
    }


def test_no_secret_is_in_what_they_write(started: Processes) -> None:
    """A whole run, with a rotation and with what goes wrong in between."""
    settings = f"[services.feeder]\nmessages = {MESSAGES}\n[services.clearing]\nfile = 'orders.txt'\n"
    settings += (
        "[logging]\nlevel = 'debug'\n[delivery.clearing]\nstart = 'earliest'\n[delivery.trader]\nstart = 'earliest'\n"
    )
    at = start_secured(started, services=settings)
    known = secrets(at.keyring.directory)
    stranger = Credentials("stranger", KeyPair.new(), at.credentials("feeder").servers)
    with attacker(zmq.DEALER, at.address.control, stranger):
        at.broker.wait_for("[debug")  # the level is what this is about, and this is what there is to say at it
    clearing, trader = at.run("clearing"), at.run("trader")
    feeder = at.run("feeder")
    assert feeder.wait() == 0, feeder.text
    commands = [at.command("keys", "rotate", "trader", "--keys", at.keyring.directory)]
    trader.wait_for("connected anew with other keys")
    known |= secrets(at.keyring.directory)
    secret = at.keyring.directory / "clearing.key_secret"
    whole = secret.read_text()
    secret.write_text(whole.replace('public-key = "', 'public-key = "x'))
    clearing.wait_for("the changed keys are not taken up")
    secret.write_text(whole)
    commands += [
        at.command("keys", "list", "--json", "--keys", at.keyring.directory),
        at.command("ledger", "--config", at.config),
        at.command("check", "--config", at.config),
        at.command("spec", "check", "--live", "--config", at.config),
    ]
    assert trader.end() == 0, trader.text
    assert clearing.end() == 0, clearing.text
    assert at.broker.end() == 0, at.broker.text
    assert (at.processes.directory / "orders.txt").read_text().split() == [str(number) for number in range(MESSAGES)]
    assert len(known) == len(SERVICES) + 3, "of broker, operator, and the one that was made later"
    for who, text in {
        "broker": at.broker.text,
        "trader": trader.text,
        "clearing": clearing.text,
        "feeder": feeder.text,
        **{str(done.args): done.stdout + done.stderr for done in commands},
    }.items():
        assert text
        assert "Traceback" not in text, who
        assert not [secret for secret in known if secret in text], who


# --- without keys --------------------------------------------------------------------------------


def open_to_all(started: Processes, security: str = "insecure = true", host: str = "0.0.0.0") -> None:
    frames, control, publish = free_ports(3)
    (started.directory / "system.yaml").write_text(SPEC)
    started.config.write_text(
        f'[deployment]\nmode = "distributed"\nstate_dir = "state"\nready_seconds = 1\n[security]\n{security}\n'
        '[logging]\nformat = "json"\n'
        f'[broker]\nhost = "{host}"\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n'
        + "".join(f'[[bundles]]\nname = "{name}"\nservices = ["{name}"]\n' for name in SERVICES)
        + "[services.feeder]\nmessages = 10\n"
    )


def warned(process: Running) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in process.said if line.startswith("{")]
    return [line for line in lines if "INSECURE" in line["event"]]


def test_a_broker_and_services_that_are_open_to_all_say_so_at_every_start(started: Processes) -> None:
    open_to_all(started)
    for _ in range(2):
        broker = started.broker()
        feeder = started.start("mycelium", "run", "--bundle", "feeder", "--config", started.config, "--quiet")
        assert feeder.wait() == 0, feeder.text
        assert broker.end() == 0
        for process in (broker, feeder):
            (line,) = warned(process)
            assert line["event"] == "INSECURE: everybody who reaches the broker may read and publish, in plain text"
            assert (line["level"], line["broker"]) == ("warning", "0.0.0.0")
            assert line["because"] == "security.insecure = true"


def test_a_broker_that_is_bound_to_loopback_does_not(started: Processes) -> None:
    open_to_all(started)
    broker = started.start("mycelium", "broker", "--config", started.config, "--bind", "127.0.0.1")
    broker.wait_for("ready")
    assert broker.end() == 0
    assert warned(broker) == []


@pytest.mark.parametrize("how", ["host", "bind"])
def test_a_broker_that_would_be_open_by_mistake_does_not_begin(started: Processes, how: str) -> None:
    open_to_all(started, security="", host="0.0.0.0" if how == "host" else "127.0.0.1")
    broker = started.start(
        "mycelium", "broker", "--config", started.config, *(["--bind", "0.0.0.0"] if how == "bind" else [])
    )
    assert broker.wait() == 2
    assert broker.text.count("error: ") == 1
    assert "security.keys: is missing" in broker.text
    assert "everybody who reaches it could read and publish" in broker.text
    assert not started.journal.exists()
