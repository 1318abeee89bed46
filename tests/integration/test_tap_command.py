"""``mycelium tap`` against real systems."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from mycelium import Bus, Message, Network
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.transport.addresses import Fabric, StoreAddress
from tests.chaos.controller import REPOSITORY
from tests.processes.running import Processes, Running, processes
from tests.unit.cli.test_values import is_harmless

pytestmark = pytest.mark.process

EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202e"


class Newer(Message, type_id=900, topic="chaos.{publisher}.{lane}"):
    """The same contract as a later version of the system has it."""

    publisher: str
    lane: str
    number: int
    filling: bytes
    remark: str = ""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def address(started: Processes) -> StoreAddress:
    """A broker that has ten messages of one publisher."""
    at = started.configure()
    started.broker()
    publisher = started.publisher("first", at)
    publisher.ask("publish 1 10 4")
    publisher.ask("flush")
    assert publisher.finish() == 0
    return at


def tap(started: Processes, *options: object) -> Running:
    return started.start("mycelium", "tap", "--config", started.config, "--seconds", 30, *options)


def shown(started: Processes, *options: object) -> tuple[int, list[str]]:
    """Its exit code, and what it says."""
    process = tap(started, *options)
    return process.wait(), process.text.splitlines()


def messages(lines: list[str]) -> list[dict[str, Any]]:
    return [found for line in lines if "topic" in (found := json.loads(line))]


def test_what_is_new_until_ctrl_c(started: Processes, address: StoreAddress) -> None:
    process = tap(started, "chaos.*.0", "--where", "number!=12")
    assert process.wait_for("reading") == "reading Event on chaos.*.0\n"
    publisher = started.publisher("chaos", address)
    publisher.ask("publish 11 3 2")
    line = process.wait_for("number=11").split()
    assert line[1:] == [
        "chaos.chaos.0", "chaos#1", "Event", "publisher=chaos", "lane=0", "number=11", "filling=0x0000",
    ]  # fmt: skip
    process.wait_for("number=13")
    assert process.end(signal.SIGINT) == 0
    assert process.said[-1] == "2 messages\n"


def test_what_is_kept(started: Processes, address: StoreAddress) -> None:
    code, lines = shown(started, "--from", "earliest", "--count", 10, "--json")
    assert code == 0
    found = messages(lines)
    assert [one["fields"]["number"] for one in found] == list(range(1, 11))
    assert found[0]["fields"] == {"publisher": "first", "lane": "0", "number": 1, "filling": "0x00000000"}
    assert {key: found[2][key] for key in ("topic", "source", "sequence", "type", "type_id")} == {
        "topic": "chaos.first.0", "source": "first", "sequence": 3, "type": "Event", "type_id": 900,
    }  # fmt: skip
    assert json.loads(lines[0]) == {"note": "reading Event, DeadLetter on >"}
    assert json.loads(lines[-1]) == {"messages": 10, "missed": 0, "refused": 0}


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--from", "last_value", "--count", 1), [10]),
        (("--from", "10m", "--count", 2), [1, 2]),
        (("--from", "earliest", "--count", 2, "--where", "number>7", "--type", "Event"), [8, 9]),
        (("--from", "earliest", "--count", 1, "--where", "number>7", "--where", "number<=8"), [8]),
    ],
)
def test_where_it_begins_and_what_it_leaves_out(
    started: Processes, address: StoreAddress, options: tuple[object, ...], numbers: list[int]
) -> None:
    code, lines = shown(started, "--json", *options)
    assert code == 0
    assert [one["fields"]["number"] for one in messages(lines)] == numbers


async def publish_newer(address: StoreAddress) -> None:
    async with (
        Bus("later", network=Network(fabric=Fabric(stores=(address,)))) as bus,
        bus.publisher(Newer) as publisher,
    ):
        await publisher.publish(Newer("later", "0", 1, b"", EVIL))


def test_a_contract_that_only_the_system_knows(started: Processes, address: StoreAddress) -> None:
    """This checkout has another system.yaml: by what is in the journal it is asked for all the same."""
    spec = started.directory / "system.yaml"
    spec.write_text(spec.read_text().replace("type_id: 900", "type_id: 901"))
    code, lines = shown(started, "--from", "earliest", "--count", 1)
    assert code == 0
    assert lines[1].split()[1:] == ["chaos.first.0", "first#1", "type", "id", "900", "first", "0", "1", "0x00000000"]


def test_hostile_texts_never_reach_the_terminal(started: Processes, address: StoreAddress) -> None:
    spec = started.directory / "system.yaml"
    spec.write_text(spec.read_text().replace("type_id: 900", "type_id: 901"))
    asyncio.run(publish_newer(address))
    code, lines = shown(started, "chaos.later.*", "--from", "earliest", "--count", 1)
    assert code == 0
    assert lines[-2].endswith(r"later 0 1 0x '\x1b]0;owned\x07\x1b[2J\r\u202e'")
    assert all(is_harmless(line) for line in lines)


def test_damaged_frames_do_not_end_it(started: Processes) -> None:
    """A socket of our own in the place of a broker's frames says what a broker never would."""
    at = started.configure()
    started.broker()
    with zmq.Context() as context, context.socket(zmq.XPUB) as evil, zmq.Context() as other:
        port = evil.bind_to_random_port("tcp://127.0.0.1")
        text = started.config.read_text()
        ours = at.frames.rpartition(":")[2]
        real = other.socket(zmq.SUB)
        real.setsockopt(zmq.SUBSCRIBE, b"")
        real.connect(at.frames)
        started.config.write_text(text.replace(f"frames_port = {ours}", f"frames_port = {port}"))
        process = tap(started, "chaos.>")
        deadline = time.monotonic() + 30
        while not any("reading" in line for line in process.said):  # its probe comes back by way of us
            if real.poll(50):
                evil.send(real.recv())
            assert time.monotonic() < deadline, process.text
        good = encode_frame(Envelope("chaos.x.0", 900, 1, source_id("x"), 1, 1, 1, b"\x91\x94\xa1x\xa10\x07\xc4\x00"))
        strange = encode_frame(Envelope("chaos.x.1", 65_000, 1, 1, 1, 1, 2**64 - 1, b"\xc1\x1b[31m"))
        for frame in (b"chaos.x.0\0", good[:-1], good[:-2] + b"\xff" + good[-1:], b"chaos.\x1b[31m\0" + good, strange):
            evil.send(frame)
        evil.send(good)
        assert "number=7" in process.wait_for("number=7")
        assert process.end(signal.SIGTERM) == 0
        real.close(linger=0)
    assert all(is_harmless(line.rstrip("\n")) for line in process.said)
    assert "type id 65000" in process.text
    assert process.said[-1] == "2 messages; 4 damaged frames\n"


def test_a_reader_that_has_seen_enough(started: Processes, address: StoreAddress) -> None:
    command = [sys.executable, "-m", "mycelium", "tap", "--config", str(started.config), "--from", "earliest"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as errors:
        assert "number=1 " in output.readline()
        output.close()
        publisher = started.publisher("second", address)
        publisher.ask("publish 1 100 10")
        publisher.ask("flush")
        assert process.wait(30) == 0
        assert errors.read() == "reading Event, DeadLetter on >\n"


def test_a_reader_that_stands_still_slows_nobody(started: Processes, address: StoreAddress) -> None:
    """Nobody reads what it shows: it goes on taking what comes, and drops its oldest."""
    command = [sys.executable, "-m", "mycelium", "tap", "--config", str(started.config), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr as errors:
        assert "reading" in errors.readline()
        publisher = started.publisher("second", address)
        began = time.monotonic()
        publisher.ask("publish 1 40000 100")
        publisher.ask("flush")
        assert time.monotonic() - began < 30
        assert publisher.finish() == 0
        ledger = started.start("mycelium", "ledger", "--config", started.config)
        assert ledger.wait() == 0
        assert "tap" not in ledger.text
        time.sleep(1)  # what libzmq has for it is taken meanwhile
        process.send_signal(signal.SIGINT)
        figures = json.loads(errors.read().splitlines()[-1])
        assert process.wait(30) == 0
    assert figures["missed"] > 10_000
    assert figures["messages"] + figures["missed"] <= 40_000


def test_a_terminal(started: Processes, address: StoreAddress) -> None:
    """In colours, folded to its width; without, where NO_COLOR says so."""
    for colour in (True, False):
        main, ours = pty.openpty()
        options = ["--from", "earliest", "--count", "1"]
        environment = {**os.environ, "COLUMNS": "50", "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        if not colour:
            environment["NO_COLOR"] = "1"
        process = subprocess.Popen(
            [sys.executable, "-m", "mycelium", "tap", "--config", str(started.config), *options],
            stdin=ours, stdout=ours, stderr=ours, cwd=REPOSITORY, env=environment,
        )  # fmt: skip
        os.close(ours)
        data = b""
        while select.select([main], (), (), 30)[0]:
            try:
                data += os.read(main, 65_536)
            except OSError:
                break  # the other side has closed it
        assert process.wait(30) == 0
        os.close(main)
        text = data.decode()
        assert ("\x1b[36mchaos.first.0" in text) is colour, text
        if not colour:
            plain = text.replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\r\n", "\n")
            lines = plain.splitlines()
            assert lines[1].endswith("chaos.first.0 first#1 Event"), plain
            assert lines[2:] == ["    publisher=first lane=0 number=1", "    filling=0x00000000", "1 message"]


def test_a_broker_that_is_not_there(started: Processes) -> None:
    at = started.configure()
    code, lines = shown(started, "--seconds", 0.3)
    assert (code, lines) == (1, [f"error: {at.control}: broker has not answered in 0.3 s; is it running?"])


def test_what_is_wrong_is_a_sentence(started: Processes) -> None:
    started.configure()
    for options, said in (
        (("A.b",), "must be one or more of a-z"),
        (("--from", "soon"), "is none of new, earliest and last_value"),
        (("--where", "nothing"), "is no condition such as"),
        (("--where", "size=1"), "has a field 'size'; there are"),
        (("--type", "Nix"), "is no contract of system.yaml"),
    ):
        code, lines = shown(started, *options)
        assert code == 2
        assert said in " ".join(line.strip("│ ") for line in lines), lines
    started.config.write_text(started.config.read_text().replace('"distributed"', '"monolith"'))
    code, lines = shown(started)
    assert code == 2
    assert "runs in one process" in lines[0]


def test_a_pattern_that_matches_nothing_says_what_there_is(started: Processes, address: StoreAddress) -> None:
    process = tap(started, "market.>")
    line = process.wait_for("matches no topic of system.yaml")
    assert "those are chaos.{publisher}.{lane} (Event), _sys.dead.{service}.{handler} (DeadLetter)" in line
    process.wait_for("reading whatever comes on market.>")
    assert process.end(signal.SIGINT) == 0


def test_bundles_over_ipc(started: Processes) -> None:
    """One of two runs. The other is left out, and read when it comes."""
    started.configure()
    directory = started.directory
    started.config.write_text(
        '[deployment]\nmode = "bundled"\nstate_dir = "state"\n'
        f'[inter_bundle]\nsocket_dir = "{directory}/s"\n'
        '[[bundles]]\nname = "one"\nservices = ["chaos"]\n[[bundles]]\nname = "two"\nservices = ["other"]\n'
    )
    addresses = [
        StoreAddress(name, f"ipc://{directory}/s/{name}.frames", f"ipc://{directory}/s/{name}.control")
        for name in ("one", "two")
    ]
    first = started.publisher("first", addresses[0], own="memory")
    first.ask("publish 1 3 1")
    process = tap(started, "--from", "earliest", "--seconds", 3)
    process.wait_for("two has not answered in 3 s, and is left out until it does")
    process.wait_for("number=3")
    second = started.publisher("second", addresses[1], own="memory")
    for number in range(1, 200):
        second.ask(f"publish {number} 1 1")
        if any("chaos.second.0" in line for line in process.said):
            break
        time.sleep(0.1)
    assert "chaos.second.0" in process.text
    # Nobody waits for it when it closes, although it stands still.
    process.send(signal.SIGSTOP)
    first.ask("publish 4 100 1")
    began = time.monotonic()
    assert first.finish() == 0
    assert time.monotonic() - began < 5
    process.send(signal.SIGCONT)
    assert process.end(signal.SIGINT) == 0
