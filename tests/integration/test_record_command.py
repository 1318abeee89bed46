"""``mycelium record`` against real systems."""

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

import pytest

from mycelium.core.envelope import source_id
from mycelium.journal.salvage import check
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import read_books, read_clients
from mycelium.transport.keyring import Keyring
from tests.chaos.controller import REPOSITORY
from tests.processes.disks import mounted
from tests.processes.recordings import frames_of, lacks_of, numbers_of
from tests.processes.running import Processes, Running, processes
from tests.security import system
from tests.security.system import start_secured

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def record(started: Processes, directory: Path, *options: object) -> Running:
    """Start a recorder, and wait until every store has said where to begin."""
    process = begun(started, directory, *options)
    process.wait_for("recording ")
    return process


def begun(started: Processes, directory: Path, *options: object) -> Running:
    arguments = ("--config", started.config, "--seconds", 30, *options)
    return started.mycelium("record", directory, *arguments)


def test_all_that_is_kept_and_all_that_comes(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    publisher.ask("each 1 500 10")
    publisher.ask("flush")
    process = record(started, tmp_path / "rec", "--from", "earliest")
    assert lacks_of(tmp_path / "rec") is not None
    publisher.ask("each 501 500 10")
    publisher.ask("publish 1001 20000 100")
    publisher.ask("flush")
    assert process.end(signal.SIGINT) == 0, process.text
    assert "21,000 messages recorded in " in process.said[-1]
    assert process.said[-1].endswith("; 21,000 in 1 stream; complete\n")
    assert numbers_of(tmp_path / "rec") == list(range(1, 21_001))
    assert lacks_of(tmp_path / "rec") is None
    said = json.loads((tmp_path / "rec" / "recording.json").read_text())
    assert (said["system"], said["messages"], said["streams"], said["pattern"]) == ("chaos", 21_000, 1, ">")
    assert said["contracts"]["900"]["name"] == "Event"
    assert said["sources"] == {f"{source_id('chaos'):016x}": "chaos"}
    assert said["begun"] < said["ended"]
    report = check(tmp_path / "rec")
    assert (report.damage, report.messages, report.missing_messages) == ((), 21_000, 0)


def test_only_what_is_new(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    publisher.ask("publish 1 10 4")
    publisher.ask("flush")
    process = record(started, tmp_path / "rec", "chaos.chaos.*", "--type", "Event")
    publisher.ask("publish 11 10 4")
    publisher.ask("flush")
    other = started.publisher("other", at)
    other.ask("publish 1 10 4")
    other.ask("flush")
    assert process.end(signal.SIGTERM) == 0
    assert numbers_of(tmp_path / "rec") == list(range(11, 21))


def test_killed_and_resumed_nothing_is_lost_and_nothing_there_twice(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    publisher.ask("publish 1 10 4")
    publisher.ask("flush")
    record(started, tmp_path / "rec").end(signal.SIGKILL)  # nothing is recorded yet: it begins with 11 all the same
    count = 10
    for _ in range(4):
        process = record(started, tmp_path / "rec", "--resume")
        publisher.tell(f"each {count + 1} 5000 50")
        while not frames_of_live(tmp_path / "rec", count):
            assert process.process.poll() is None
        process.end(signal.SIGKILL)
        publisher.wait_for("done")
        count += 5_000
        lacks = lacks_of(tmp_path / "rec")
        assert lacks is not None
        assert (lacks["missing"], lacks["unknown"]) == (0, {})
        assert "killed" in lacks["why"][0]
    publisher.ask("flush")
    process = record(started, tmp_path / "rec", "--resume")
    assert process.end(signal.SIGINT) == 0, process.text
    assert process.said[-1].endswith(f"; {count - 10:,} in 1 stream; complete\n")
    assert numbers_of(tmp_path / "rec") == list(range(11, count + 1))
    assert lacks_of(tmp_path / "rec") is None
    assert check(tmp_path / "rec").damage == ()


def frames_of_live(directory: Path, count: int) -> bool:
    """Whether a recorder that has the journal open has written more than ``count`` messages take."""
    return (directory / "data.mdb").stat().st_size > (count + 1_000) * 100


def wait_expired(at: StoreAddress, number: int) -> int:
    """Wait until the broker does not keep a message of its one stream any more; the first that it keeps."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (book,) = asyncio.run(read_books(at, 5)).streams
        if book.first > number:
            return book.first
    raise AssertionError("it is still kept")


@pytest.mark.parametrize("halt", [False, True])
def test_retention_that_overtakes_it(started: Processes, tmp_path: Path, halt: bool) -> None:
    at = started.configure("max_age_seconds = 0.3")
    started.broker()
    publisher = started.publisher("chaos", at)
    process = record(started, tmp_path / "rec", *(["--halt"] if halt else []))
    process.send(signal.SIGSTOP)
    publisher.ask("each 1 300 4")
    publisher.ask("flush")
    wait_expired(at, 300)
    process.send(signal.SIGCONT)
    if halt:
        assert process.wait() == 1
        assert "--halt says to end then" in process.text
    else:
        publisher.ask("each 301 100 4")
        publisher.ask("flush")
        assert process.end(signal.SIGINT) == 1
    lacks = lacks_of(tmp_path / "rec")
    assert lacks is not None
    recorded = numbers_of(tmp_path / "rec")
    assert lacks["missing"] == (300 if halt else 400) - len(recorded) >= 300
    (stream,) = lacks["streams"]
    assert (stream["topic"], stream["source"]) == ("chaos.chaos.0", "chaos")
    assert stream["missing"] == {"no longer kept": lacks["missing"]}
    assert (stream["first"], stream["last"] >= 300) == (1, True)
    assert f"{lacks['missing']} messages no longer kept" in process.text
    assert f"INCOMPLETE, see {tmp_path / 'rec' / 'INCOMPLETE'}" in process.text
    # What is lost is lost: going on does not make it complete, and counts nothing twice.
    process = record(started, tmp_path / "rec", "--resume")
    assert process.end(signal.SIGINT) == 1
    again = lacks_of(tmp_path / "rec")
    assert again is not None
    assert again["missing"] + len(numbers_of(tmp_path / "rec")) == (300 if halt else 400)


def test_a_broker_that_restarts_meanwhile(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    broker = started.broker()
    publisher = started.publisher("chaos", at)
    process = record(started, tmp_path / "rec")
    for first in (1, 1001, 2001):
        publisher.tell(f"each {first} 1000 4")
        broker.end(signal.SIGKILL)
        broker = started.broker()
        publisher.wait_for("done")
    publisher.ask("flush")
    assert process.end(signal.SIGINT) == 0, process.text
    assert numbers_of(tmp_path / "rec") == list(range(1, 3001))


def test_a_broker_that_is_gone_at_the_end(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    broker = started.broker()
    publisher = started.publisher("chaos", at)
    process = started.mycelium("record", tmp_path / "rec", "--config", started.config, "--seconds", 2)
    process.wait_for("recording ")
    publisher.ask("publish 1 10 4")
    publisher.ask("flush")
    broker.end(signal.SIGKILL)
    assert process.end(signal.SIGINT) == 1
    lacks = lacks_of(tmp_path / "rec")
    assert lacks is not None
    assert (lacks["missing"], lacks["unknown"]) == (0, {})
    assert "broker has not answered at the end" in lacks["why"][0]
    started.broker()
    process = record(started, tmp_path / "rec", "--resume")
    assert process.end(signal.SIGINT) == 0, process.text
    assert numbers_of(tmp_path / "rec") == list(range(1, 11))


def test_what_is_live_is_recorded_and_what_is_missed_of_it_is_counted(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    spec = started.directory / "system.yaml"
    spec.write_text(spec.read_text().replace("type_id: 900", "type_id: 900\n    delivery: live"))
    started.broker()
    publisher = started.publisher("chaos", at)
    process = record(started, tmp_path / "rec")
    publisher.ask("each 1 500 4")
    wait_lines(process, tmp_path / "rec")
    assert process.end(signal.SIGINT) == 0, process.text
    assert numbers_of(tmp_path / "rec") == list(range(1, 501))
    publisher.ask("each 501 100 4")  # nobody records it, and nobody keeps it
    process = record(started, tmp_path / "rec", "--resume")
    publisher.ask("each 601 100 4")
    wait_lines(process, tmp_path / "rec")
    assert process.end(signal.SIGINT) == 1, process.text
    lacks = lacks_of(tmp_path / "rec")
    assert lacks is not None
    assert lacks["streams"][0]["missing"] == {"live, missed on the way": 100}
    assert numbers_of(tmp_path / "rec") == [*range(1, 501), *range(601, 701)]


def wait_lines(process: Running, directory: Path) -> None:
    """Wait until what comes by itself has come: the journal does not grow any more."""
    still, before = 0, -1
    while still < 20:
        now = (directory / "data.mdb").stat().st_mtime_ns
        still, before = (still + 1, before) if now == before else (0, now)
        assert process.process.poll() is None, process.text
        time.sleep(0.05)  # there is nobody who could say it


def test_a_full_disk(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    with mounted(tmp_path / "disk", "6m") as disk:
        process = record(started, disk / "rec")
        publisher.ask("publish 1 20000 1000")
        publisher.ask("flush")
        assert process.wait() == 1
        assert "no room for" in process.text
        assert "Traceback" not in process.text
        lacks = lacks_of(disk / "rec")
        assert lacks is not None
        report = check(disk / "rec")
        assert report.damage == ()
        assert numbers_of(disk / "rec") == list(range(1, report.messages + 1))


def test_a_journal_that_may_not_grow_further_goes_on_when_it_may(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    process = record(started, tmp_path / "rec", "--max-bytes", "2MiB")
    publisher.ask("publish 1 5000 1000")
    publisher.ask("flush")
    assert process.wait() == 1
    assert "no room for" in process.text
    process = record(started, tmp_path / "rec", "--resume", "--max-bytes", "64MiB")
    assert process.end(signal.SIGINT) == 0, process.text
    assert numbers_of(tmp_path / "rec") == list(range(1, 5001))


def test_it_ends_by_itself(started: Processes, tmp_path: Path) -> None:
    started.configure()
    started.broker()
    began = time.monotonic()
    process = record(started, tmp_path / "rec", "--for", "1s")
    assert process.wait() == 0, process.text
    assert time.monotonic() - began > 1
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 5))
    process = record(started, tmp_path / "rec", "--resume", "--until", end)
    assert process.wait() == 0, process.text


def test_what_is_wrong_is_a_sentence(started: Processes, tmp_path: Path) -> None:
    started.configure()
    there = tmp_path / "there"
    there.mkdir()
    for directory, options, sentence in (
        (there, (), "is there already; go on with --resume"),
        (there, ("--resume",), "is no recording: there is no recording.json"),
        (tmp_path / "none", ("--resume",), "is no recording"),
        (tmp_path / "rec", ("--from", "last_value"), "a recording begins with new, earliest, or a time"),
        (tmp_path / "rec", ("--from", "soon"), "is none of new, earliest"),
        (tmp_path / "rec", ("--for", "soon"), "is no time span such as 90s"),
        (tmp_path / "rec", ("--until", "soon"), "is no time such as"),
        (tmp_path / "rec", ("--until", "2020-01-01T00:00:00"), "is over; it is"),
        (tmp_path / "rec", ("--for", "1s", "--until", "2999-01-01"), "leave one of them out"),
        (tmp_path / "rec", ("--max-bytes", "much"), "is no size such as 500MB"),
        (tmp_path / "rec", ("--max-bytes", "1KB"), "1 MiB to 64 TiB are accepted"),
        (tmp_path / "rec", ("A.b",), "must be one or more of a-z"),
        (tmp_path / "rec", ("--type", "Nix"), "is no contract of system.yaml"),
    ):
        process = begun(started, directory, *options)
        assert process.wait() == 2, process.text
        text = " ".join(line.strip("│ \n") for line in process.said)
        assert sentence in text
        assert "Traceback" not in text
    assert not (tmp_path / "rec").exists()


def test_a_broker_that_is_not_there(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    process = started.mycelium("record", tmp_path / "rec", "--config", started.config, "--seconds", 0.3)
    assert process.wait() == 1
    assert process.said[-1] == f"error: {at.control}: broker has not answered in 0.3 s; is it running?\n"
    assert not (tmp_path / "rec").exists(), "nothing has begun"


def test_two_recorders_and_other_systems(started: Processes, tmp_path: Path) -> None:
    started.configure()
    started.broker()
    first = record(started, tmp_path / "rec", "chaos.>")
    second = begun(started, tmp_path / "rec", "--resume")
    assert second.wait() == 2
    assert "is open in process" in second.text
    assert first.end(signal.SIGINT) == 0
    other = begun(started, tmp_path / "rec", "chaos.x.*", "--resume")
    assert other.wait() == 2
    assert "pattern = 'chaos.>': cannot be another one when it goes on; asked for was 'chaos.x.*'" in other.text
    spec = started.directory / "system.yaml"
    spec.write_text(spec.read_text().replace("number: int", "number: str"))
    changed = begun(started, tmp_path / "rec", "--resume")
    assert changed.wait() == 2
    assert "system.yaml has another Event" in changed.text


def test_bundles(started: Processes, tmp_path: Path) -> None:
    """One ends in order, and waits for the recorder that stands still. One that is killed cannot be complete."""
    started.configure()
    directory = started.directory
    started.config.write_text(
        '[deployment]\nmode = "bundled"\nstate_dir = "state"\n'
        f'[inter_bundle]\nsocket_dir = "{directory}/s"\n'
        '[[bundles]]\nname = "one"\nservices = ["chaos"]\n[[bundles]]\nname = "two"\nservices = ["other"]\n'
    )
    one, two = (
        StoreAddress(name, f"ipc://{directory}/s/{name}.frames", f"ipc://{directory}/s/{name}.control")
        for name in ("one", "two")
    )
    first = started.publisher("first", one, own="memory")
    second = started.publisher("second", two, own="memory")
    process = record(started, tmp_path / "rec")
    second.ask("publish 1 10 4")
    process.send(signal.SIGSTOP)
    first.ask("each 1 3000 100")
    assert first.process.stdin is not None
    first.process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        first.process.wait(2)
    process.send(signal.SIGCONT)
    assert first.wait() == 0
    other = started.publisher("first", one, own="memory")  # the same again
    while not any(client.readers for client in asyncio.run(read_clients(one, 5)).clients):
        assert process.process.poll() is None, process.text
    other.ask("publish 3001 10 4")
    assert other.finish() == 0
    assert second.finish() == 0
    assert process.end(signal.SIGINT) == 0, process.text + str(lacks_of(tmp_path / "rec"))
    assert sorted(numbers_of(tmp_path / "rec")) == sorted([*range(1, 3011), *range(1, 11)])

    first, second = started.publisher("first", one, own="memory"), started.publisher("second", two, own="memory")
    process = record(started, tmp_path / "again")
    first.ask("publish 1 10 4")
    first.process.kill()
    first.process.wait()
    first = started.publisher("first", one, own="memory")
    while not any(client.readers for client in asyncio.run(read_clients(one, 5)).clients):
        assert process.process.poll() is None, process.text
    first.ask("publish 11 10 4")
    first.finish()
    second.finish()
    assert process.end(signal.SIGINT) == 1, process.text
    lacks = lacks_of(tmp_path / "again")
    assert lacks is not None
    assert "one: the store has begun anew without them" in lacks["unknown"]

    # Nobody was there when one ended and began again.
    first, second = started.publisher("first", one, own="memory"), started.publisher("second", two, own="memory")
    record(started, tmp_path / "third").end(signal.SIGKILL)
    first.process.kill()
    first.process.wait()
    first = started.publisher("first", one, own="memory")
    process = record(started, tmp_path / "third", "--resume")
    assert process.end(signal.SIGINT) == 1, process.text
    lacks = lacks_of(tmp_path / "third")
    assert lacks is not None
    assert list(lacks["unknown"]) == ["one: the store has begun anew without them"]


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__READY_SECONDS", "1")  # nobody else comes to read
    monkeypatch.setattr(system, "SPEC", system.SPEC + "  tap:\n    subscribes: [Tick]\n")
    Keyring(tmp_path / "keys").create("tap", time.time())
    with processes(tmp_path) as started:
        at = start_secured(started, services="[services.feeder]\nmessages = 200\nrate = 1000\n")
        process = record(started, tmp_path / "rec", "ticks.>")
        feeder = at.run("feeder")
        assert feeder.wait() == 0, feeder.text
        assert process.end(signal.SIGINT) == 0, process.text
        assert sum(envelope.count for envelope in frames_of(tmp_path / "rec")) == 200
        for options, sentence in (
            (("orders.x",), "may not read Order on orders.x"),
            (("--as", "ledger"), "system.yaml lets it read nothing"),
        ):
            refused = begun(started, tmp_path / "no", *options)
            assert refused.wait() == 2
            assert sentence in refused.text
        # It was refused nothing: it asks for no more than a tap may.
        done = at.command("ledger", "--config", at.config)
        assert "refused" not in done.stdout, done.stdout
        # Under its own key the feeder is stood in for.
        replayed = started.mycelium("replay", tmp_path / "rec", "--config", at.config, "--speed", "max")
        assert replayed.wait() == 0, replayed.text
        assert "200 messages published, 200 confirmed" in replayed.text


@pytest.mark.parametrize("columns", [80, 48])
def test_a_terminal(started: Processes, tmp_path: Path, columns: int) -> None:
    at = started.configure()
    started.broker()
    publisher = started.publisher("chaos", at)
    main, ours = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mycelium", "record", str(tmp_path / "rec"), "--config", str(started.config)],
        stdin=ours, stdout=ours, stderr=ours, cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(ours)
    data = b""
    told = published = False
    while select.select([main], (), (), 30)[0]:
        try:
            data += os.read(main, 65_536)
        except OSError:
            break  # the other side has closed it
        if b"recording" in data and not published:
            published = True
            publisher.ask("publish 1 1234 10")
            publisher.ask("flush")
        if b"1,234 messages  " in data and not told:
            told = True
            process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, data
    os.close(main)
    assert told
    assert "1,234 messages recorded in" in data.decode()
