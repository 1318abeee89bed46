"""``mycelium replay`` against real systems."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mycelium.cli.demo import overrides
from mycelium.topology.load import load_topology
from tests.conftest import REPOSITORY
from tests.processes.recordings import lacks_of, make_recording, numbers_of, payloads_of
from tests.processes.running import Processes, Running, processes

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

LANES = [("chaos", lane, number * 0.5, [number + 1]) for number, lane in enumerate("0101")]
"""Four messages on two lanes, half a second from one to the next."""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def record(started: Processes, directory: Path, *options: object) -> Running:
    process = started.mycelium("record", directory, "--config", started.config, "--seconds", 30, *options)
    process.wait_for("recording ")
    return process


def replay(started: Processes, directory: Path, *options: object) -> Running:
    return started.mycelium("replay", directory, "--config", started.config, *options)


def test_recorded_replayed_and_recorded_again_it_is_the_same(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    first = record(started, tmp_path / "first")
    publisher = started.publisher("chaos", at)
    publisher.ask("each 1 500 10")
    publisher.ask("publish 501 20000 100")
    publisher.ask("flush")
    assert publisher.finish() == 0
    assert first.end(signal.SIGINT) == 0
    second = record(started, tmp_path / "second")  # of what is new: the epochs tell them apart
    done = replay(started, tmp_path / "first", "--speed", "max")
    assert done.wait() == 0, done.text
    assert done.said[-1] == "20,500 messages published, 20,500 confirmed\n"
    assert second.end(signal.SIGINT) == 0
    expected = payloads_of(tmp_path / "first")
    assert sum(map(len, expected.values())) == 20_500
    assert payloads_of(tmp_path / "second") == expected


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--speed", "max"), [1, 2, 3, 4]),
        (("chaos.*.1", "--speed", "max"), [2, 4]),
        (("--speed", "max", "--loop", "3", "--to", "2"), [1, 2, 1, 2, 1, 2]),
        (("--speed", "max", "--from", "2", "--to", "3"), [2, 3]),
        (("--speed", "max", "--from", "2026-01-31T12:00:00.5", "--to", "2026-01-31T12:00:01.5"), [2, 3]),
    ],
)
def test_what_is_published(started: Processes, tmp_path: Path, options: tuple[str, ...], numbers: list[int]) -> None:
    started.configure()
    started.broker()
    recording = make_recording(tmp_path / "rec", LANES)
    done = replay(started, recording, *options)
    assert done.wait() == 0, done.text
    rounds = "; 3 whole rounds" if "--loop" in options else ""
    assert done.said[-1] == f"{len(numbers)} messages published, {len(numbers)} confirmed{rounds}\n"
    again = record(started, tmp_path / "again", "--from", "earliest")
    assert again.end(signal.SIGINT) == 0
    # Each round has all lanes: they may stand in the journal in another order, each of them in its own.
    assert sorted(numbers_of(tmp_path / "again")) == sorted(numbers)


def test_the_pace(started: Processes, tmp_path: Path) -> None:
    """Bounds are wide: it says when it ends, and how fast a process starts is the machine's."""
    started.configure()
    started.broker()
    recording = make_recording(tmp_path / "rec", LANES)
    took = {}
    for speed in ("max", "0.25"):
        began = time.monotonic()
        assert replay(started, recording, "--speed", speed).wait() == 0
        took[speed] = time.monotonic() - began
    assert took["0.25"] - took["max"] > 3


def test_ctrl_c(started: Processes, tmp_path: Path) -> None:
    started.configure()
    started.broker()
    recording = make_recording(tmp_path / "rec", [*LANES, ("chaos", "0", 3600.0, [5])])
    process = replay(started, recording, "--speed", "10")
    # Four have come, and the fifth is six minutes away.
    seen = started.mycelium("tap", "--from", "earliest", "--count", "4", "--config", started.config, "--seconds", "30")
    assert seen.wait() == 0, seen.text
    assert process.end(signal.SIGINT) == 130
    assert process.said[-1] == "4 messages published, 4 confirmed\n"


def test_what_is_wrong_is_a_sentence(started: Processes, tmp_path: Path) -> None:
    started.configure()
    good = make_recording(tmp_path / "good", LANES)
    strange = make_recording(tmp_path / "strange", [("nobody", "0", 0, [1])])
    other = make_recording(tmp_path / "other", LANES, fingerprint="0123456789abcdef")
    lacking = make_recording(tmp_path / "lacking", LANES)
    (lacking / "INCOMPLETE").write_text('{"since": "now", "why": ["3 messages no longer kept"], "missing": 3}')
    (tmp_path / "empty").mkdir()
    for directory, options, sentence in (
        (tmp_path / "none", (), "is no recording: there is no recording.json"),
        (tmp_path / "empty", (), "is no recording: there is no recording.json"),
        (lacking, (), "the recording is INCOMPLETE: 3 messages no longer kept. With --allow-incomplete"),
        (strange, (), "bundles = 'nobody': is recorded, and no service that the topology places; those are chaos"),
        (good, ("--source", "nobody"), "'nobody' published nothing there"),
        (good, ("market.>",), "has no message on market.>"),
        (good, ("--speed", "0"), "is no number above 0, nor max"),
        (good, ("--loop", "0"), "is no number from 1, nor forever"),
        (good, ("--from", "soon"), "is neither a position nor a time"),
        (
            other,
            (),
            "= '0123456789abcdef': Event was recorded with this fingerprint; tests.chaos.messages:Event here has",
        ),
    ):
        process = replay(started, directory, *options)
        assert process.wait() == 2, process.text
        text = " ".join(line.strip("│ \n") for line in process.said)
        assert sentence in text, text
        assert "Traceback" not in text
    spec = started.directory / "system.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("tests.chaos.messages:Event\n    type_id", "tests.chaos.nowhere:Event\n    type_id"))
    process = replay(started, good)
    assert process.wait() == 2, process.text
    assert "Event was recorded, and tests.chaos.nowhere:Event of" in process.text
    assert "tests.chaos.nowhere cannot be imported" in process.text
    spec.write_text(text)
    started.config.write_text(started.config.read_text().replace('"distributed"', '"monolith"'))
    process = replay(started, good)
    assert process.wait() == 2, process.text
    assert "put a service of your own in the place of the one that publishes" in process.text


def test_what_is_incomplete_is_published_if_one_says_so(started: Processes, tmp_path: Path) -> None:
    started.configure()
    started.broker()
    recording = make_recording(tmp_path / "rec", LANES)
    (recording / "INCOMPLETE").write_text('{"since": "now"}')
    done = replay(started, recording, "--allow-incomplete", "--speed", "max")
    assert done.wait() == 0, done.text


def test_a_service_that_runs_is_not_stood_in_for(started: Processes, tmp_path: Path) -> None:
    at = started.configure()
    started.broker()
    recording = make_recording(tmp_path / "rec", LANES)
    started.publisher("chaos", at)
    process = replay(started, recording)
    assert process.wait() == 2, process.text
    assert "chaos is or was at the broker: waiting to see" in process.text
    assert "bundles = 'chaos': is at the broker; end what runs" in process.text


def test_the_sources_of_several_bundles(started: Processes, tmp_path: Path) -> None:
    started.configure()
    started.config.write_text(
        f'[deployment]\nmode = "bundled"\n[inter_bundle]\nsocket_dir = "{tmp_path}/s"\n'
        '[[bundles]]\nname = "one"\nservices = ["chaos"]\n[[bundles]]\nname = "two"\nservices = ["other"]\n'
    )
    recording = make_recording(tmp_path / "rec", [*LANES, ("other", "0", 0, [1])])
    process = replay(started, recording)
    assert process.wait() == 2, process.text
    assert "one has chaos; two has other. Choose with --source" in process.text
    first = replay(started, recording, "--source", "chaos", "--loop", "forever")
    while not (tmp_path / "s" / "one.frames").exists():
        assert first.process.poll() is None, first.text
    other = make_recording(tmp_path / "other", LANES)
    second = replay(started, other, "--source", "chaos")
    assert second.wait() == 1
    assert "does this bundle run already?" in second.text
    assert first.end(signal.SIGTERM) == 0, first.text


@pytest.mark.parametrize("mode", ["bundled", "distributed"])
def test_the_strategy_finds_on_a_replay_what_it_found_on_the_adapter(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = REPOSITORY / "config" / f"{mode}.toml"
    for name in ("one", "two"):
        source: tuple[str, ...] = ("run", "--bundle", "market", "--quiet")
        if name == "two":
            source = ("replay", str(tmp_path / "rec-one"), "--source", "polygon_adapter", "--speed", "max")
        (tmp_path / name).mkdir()
        environment = {
            **overrides(load_topology(config).values, tmp_path / name),
            "MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(tmp_path / name),
        }
        run(mode, tmp_path / f"rec-{name}", source, environment, monkeypatch)
    for file in ("signals.jsonl", "prices.jsonl", "pools.jsonl"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), file
    assert (tmp_path / "one" / "signals.jsonl").stat().st_size > 0
    expected = payloads_of(tmp_path / "rec-one", "polygon_adapter")
    assert len(expected) > 10
    assert payloads_of(tmp_path / "rec-two", "polygon_adapter") == expected


def run(
    mode: str,
    directory: Path,
    source: tuple[str, ...],
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole system with a recorder beside it, until the source is done."""
    config = ("--config", REPOSITORY / "config" / f"{mode}.toml")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with processes(directory.parent) as started:
        if mode == "distributed":
            started.mycelium("broker", *config).wait_for("ready")
        recorder = started.mycelium("record", directory, "--from", "earliest", "--seconds", 60, *config)
        bundles = ("strategy", "report", "dashboard")
        readers = [started.mycelium("run", "--bundle", name, "--quiet", *config) for name in bundles]
        first = started.mycelium(*source, *config)
        assert first.wait() == 0, first.text
        for reader in readers:
            assert reader.end() == 0, reader.text
        assert recorder.end(signal.SIGINT) == 0, recorder.text + str(lacks_of(directory))
