"""The supervisor with real processes: the order in which they end, what it says of them, and that none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import pytest

from mycelium.cli.supervisor import Part, Result, Supervisor
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.process

CHILD = """
import os, signal, sys

name, directory = sys.argv[1:3]

def note(what):
    with open(f"{directory}/notes", "a") as notes:
        notes.write(f"{name} {what}\\n")

def told(*_):
    note("told")
    note("ended")
    os._exit(0)

signal.signal(signal.SIGTERM, told)
# Whoever reads this pipe knows who is up, and by its end that all have ended.
up = open(f"{directory}/up", "w")
print(name, os.getpid(), file=up, flush=True)
"""
WAIT = "while True: signal.pause()"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(name, 'ignores', file=up, flush=True)\n" + WAIT


def part(directory: Path, name: str, code: str = WAIT, *, leads: bool = False) -> Part:
    return Part(name, (sys.executable, "-c", CHILD + code, name, str(directory)), leads)


class Run:
    """A supervisor in a thread's reach: what is up, what was noted, what was shown."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shown: list[tuple[str, str]] = []
        os.mkfifo(directory / "up")
        (directory / "notes").touch()

    def notes(self) -> list[str]:
        return (self.directory / "notes").read_text().splitlines()

    def supervise(self, *parts: Part, patience: float = 60) -> Result:
        # The children wait until somebody reads their pipe.
        pipe = os.open(self.directory / "up", os.O_RDWR)
        try:
            supervisor = Supervisor(
                parts,
                environment={**os.environ, "OF_ALL": "yes"},
                show=lambda name, line: self.shown.append((name, line)),
                patience=patience,
            )
            return supervisor.run(nullcontext())
        finally:
            os.close(pipe)


@pytest.fixture
def here(tmp_path: Path) -> Run:
    return Run(tmp_path)


def after(*names: str) -> str:
    """Code of a process that goes on when the others have said that they are up."""
    return f"""
waited = set({names!r})
for line in open(f"{{directory}}/up"):
    waited.discard(line.split()[0])
    if not waited:
        break
"""


def test_when_the_leader_is_done_the_others_end_one_after_another(here: Run) -> None:
    result = here.supervise(
        part(here.directory, "market", after("strategy", "report", "broker"), leads=True),
        part(here.directory, "strategy"),
        part(here.directory, "report"),
        part(here.directory, "broker"),
    )
    assert result == Result((), ())
    expected = [f"{name} {what}" for name in ("strategy", "report", "broker") for what in ("told", "ended")]
    assert here.notes() == expected


def test_all_that_lead_must_be_done(here: Run) -> None:
    os.mkfifo(here.directory / "first")
    # What must not come can only be waited for so long.
    second = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open(f"{directory}/first").read()
note("told too early" if signal.sigtimedwait([signal.SIGTERM], 0.5) else "went on")
"""
    result = here.supervise(
        part(here.directory, "one", after("two", "reader") + "open(f'{directory}/first', 'w')", leads=True),
        part(here.directory, "two", second, leads=True),
        part(here.directory, "reader"),
    )
    assert result == Result((), ())
    assert here.notes() == ["two went on", "reader told", "reader ended"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("sys.exit('no cable')", "bad failed with exit code 1: no cable"),
        ("print('x\\n\\n', file=sys.stderr); sys.exit(7)", "bad failed with exit code 7: x"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "bad was killed by SIGKILL"),
        ("sys.exit()", "bad ended before the run was over"),
    ],
)
def test_a_process_that_fails_ends_the_run_and_is_named(here: Run, code: str, sentence: str) -> None:
    result = here.supervise(
        part(here.directory, "market", leads=True),
        part(here.directory, "bad", after("market", "report") + code),
        part(here.directory, "report"),
    )
    assert result == Result((sentence,), ())
    assert here.notes() == ["market told", "market ended", "report told", "report ended"]


def test_a_leader_that_fails_ends_the_run(here: Run) -> None:
    result = here.supervise(
        part(here.directory, "market", after("report") + "sys.exit(3)", leads=True), part(here.directory, "report")
    )
    assert result == Result(("market failed with exit code 3",), ())
    assert here.notes() == ["report told", "report ended"]


def test_one_that_was_not_yet_listening_when_it_was_told_has_not_failed(here: Run) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_DFL)\nprint('deaf ready', file=up, flush=True)\n" + WAIT
    result = here.supervise(
        part(here.directory, "market", after("deaf"), leads=True), part(here.directory, "other", deaf)
    )
    assert result == Result((), ())


def test_one_that_does_not_end_is_killed_and_named(here: Run) -> None:
    ready = after("stubborn").replace("line.split()[0]", "line.split()[1] == 'ignores' and line.split()[0]")
    result = here.supervise(
        part(here.directory, "market", ready, leads=True),
        part(here.directory, "stubborn", STUBBORN),
        part(here.directory, "report"),
        patience=0.5,
    )
    assert result.failed[0] == "stubborn was killed: it was told to end and had not after 0.5 s"
    assert here.notes() == ["report told", "report ended"]


def test_one_that_cannot_be_started_leaves_none_behind(tmp_path: Path) -> None:
    here = Run(tmp_path)
    with pytest.raises(FileNotFoundError):
        here.supervise(Part("none", ("/no/such/program",)), part(tmp_path, "report"))
    # Without a writer the pipe has ended; with one, reading would raise BlockingIOError.
    pipe = os.open(tmp_path / "up", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(pipe, 1_000) == b""
    os.close(pipe)


def test_lines_are_shown_with_the_name_whatever_they_hold(here: Run) -> None:
    code = """
print("one", file=sys.stderr)
sys.stderr.buffer.write(b"\\xff\\n" + b"x" * ((3 << 20) - 1) + b"\\nlast")
print("to standard output")
print(os.environ["OF_ALL"], sys.stdin.read(), file=sys.stderr)
"""
    here.supervise(part(here.directory, "market", code, leads=True))
    assert {name for name, _ in here.shown} == {"market"}
    lines = [line for _, line in here.shown]
    assert lines[:2] == ["one", "\ufffd"]
    assert [set(line) for line in lines[2:-1]] == [{"x"}] * 3
    assert lines[-1] == "lastyes"


# --- signals, to a supervisor in a process of its own ---------------------------------------------

HARNESS = """
import json, os, sys
from contextlib import nullcontext
from mycelium.cli.supervisor import Part, Supervisor

parts = [Part(name, tuple(command), leads) for name, command, leads in json.loads(sys.argv[1])]
result = Supervisor(parts, environment=os.environ, show=print, patience=600).run(nullcontext())
print(json.dumps([result.failed, [number.name for number in result.signals]]))
"""


@contextmanager
def supervised(directory: Path, *parts: Part) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """The supervisor's process, and what its children write into their pipe: its end is theirs."""
    os.mkfifo(directory / "up")
    (directory / "notes").touch()
    described = json.dumps([(one.name, one.command, one.leads) for one in parts])
    with (
        subprocess.Popen([sys.executable, "-c", HARNESS, described], cwd=REPOSITORY, stdout=-1, text=True) as process,
        (directory / "up").open() as up,
    ):
        try:
            yield process, up
        finally:
            process.kill()


def until_up(up: IO[str], *words: str) -> list[int]:
    """The children's process ids, when all of them have written ``words``."""
    pids, waited = [], set(words)
    for line in up:
        name, word = line.split()
        if word.isdigit():
            pids.append(int(word))
            word = "up"
        waited.discard(f"{name} {word}")
        if not waited:
            return pids
    raise AssertionError(f"{waited} have not come up")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_in_order(tmp_path: Path, number: signal.Signals) -> None:
    parts = part(tmp_path, "market", leads=True), part(tmp_path, "report")
    with supervised(tmp_path, *parts) as (process, up):
        until_up(up, "market up", "report up")
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert up.read() == ""
    assert json.loads(said) == [[], [number.name]]
    assert (tmp_path / "notes").read_text().split("\n")[:-1] == [
        "market told",
        "market ended",
        "report told",
        "report ended",
    ]


def test_a_second_ctrl_c_kills_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "told")
    says = "signal.signal(signal.SIGTERM, lambda *_: open(f'{directory}/told', 'w').close())\n"
    says += "print(name, 'listens', file=up, flush=True)\n" + WAIT
    parts = part(tmp_path, "market", says, leads=True), part(tmp_path, "report")
    with supervised(tmp_path, *parts) as (process, up):
        until_up(up, "market listens", "report up")
        process.send_signal(signal.SIGINT)
        (tmp_path / "told").read_text()  # returns when the first has been told
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert up.read() == ""
    failed, signals = json.loads(said)
    assert signals == ["SIGINT", "SIGINT"]
    assert sorted(failed) == ["market was killed by SIGKILL", "report was killed by SIGKILL"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    parts = part(tmp_path, "market", STUBBORN, leads=True), part(tmp_path, "report")
    with supervised(tmp_path, *parts) as (process, up):
        pids = until_up(up, "market ignores", "report up")
        assert len(pids) == 2
        process.kill()
        process.wait()
        reading = threading.Thread(target=up.read)
        reading.start()
        reading.join(30)
        left = reading.is_alive()
        for pid in pids if left else ():
            os.kill(pid, signal.SIGKILL)
    assert not left, "a process outlived its supervisor"
