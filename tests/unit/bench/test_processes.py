"""Processes that take part in a measurement."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mycelium.bench.processes import RoleError, RoleProcess, RoleProcesses
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.process

ROLE = """
import json, sys
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "fail":
        sys.exit("something broke")
    print("[1]" if word == "list" else "rubbish" if word == "rubbish" else json.dumps({"heard": word}), flush=True)
"""
DEAF = "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()"


def role(code: str = ROLE, **options: object) -> RoleProcess:
    return RoleProcess((sys.executable, "-c", code), name="worker", **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_what_it_is_asked() -> None:
    with role() as worker:
        assert worker.ask("one") == {"heard": "one"}
        worker.tell("two")
        worker.tell("three")
        assert [worker.answer(), worker.answer()] == [{"heard": "two"}, {"heard": "three"}]
    assert not is_alive(worker.pid)


def test_a_module_of_this_python() -> None:
    with (
        pytest.raises(RoleError, match=r"tool ended with exit code 0 before it was ready"),
        RoleProcess.python("json.tool", "--help"),
    ):
        pass


def test_what_it_said_is_shown_when_it_fails() -> None:
    with role() as worker, pytest.raises(RoleError) as caught:
        worker.ask("fail")
    assert str(caught.value) == "worker ended with exit code 1 before it was ready or had answered\n  something broke"
    assert (caught.value.role, caught.value.said) == ("worker", ("something broke",))


def test_it_has_ended_when_it_is_told_something() -> None:
    with role("print('ready', flush=True)") as worker:
        with pytest.raises(RoleError, match="ended with exit code 0"):
            worker.answer()
        with pytest.raises(RoleError, match="ended with exit code 0 before it was told 'hello'"):
            worker.tell("hello")


@pytest.mark.parametrize("word", ["rubbish", "list"])
def test_an_answer_is_an_object(word: str) -> None:
    with role() as worker, pytest.raises(RoleError, match="answered no JSON object but"):
        worker.ask(word)


def test_it_may_not_take_for_ever() -> None:
    with role(DEAF, end_signal=signal.SIGTERM) as worker, pytest.raises(RoleError, match=r"not answered in 0\.1 s"):
        worker.ask("hello", seconds=0.1)
    assert not is_alive(worker.pid)


def test_it_is_never_ready() -> None:
    worker = role("import signal\nsignal.pause()", patience=0.1)
    with pytest.raises(RoleError, match=r"worker was not ready in 0\.1 s"), worker:
        pass
    assert not is_alive(worker.pid)


def test_a_log_may_say_that_it_is_ready() -> None:
    """What it answers may come before."""
    code = "import sys; print('{}', flush=True); print('info ready', file=sys.stderr, flush=True); sys.stdin.read()"
    with role(code, ready_in="stderr") as worker:
        assert worker.answer() == {}


def test_all_end_together() -> None:
    with RoleProcesses() as roles:
        workers = [roles.add(role()) for _ in range(2)]
        for worker in workers:
            worker.wait_ready()
    assert [is_alive(worker.pid) for worker in workers] == [False, False]


def test_all_are_killed_when_something_is_wrong() -> None:
    """Also those that do not listen."""
    with contextlib.suppress(KeyboardInterrupt), RoleProcesses() as roles:
        workers = [roles.add(role(DEAF)) for _ in range(2)]
        raise KeyboardInterrupt
    assert [is_alive(worker.pid) for worker in workers] == [False, False]


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    child = f"alive = open({str(pipe)!r}, 'w'); alive.write('started'); alive.flush()\n{DEAF}"
    parent = (
        "import os, signal, sys\nfrom mycelium.bench.processes import RoleProcess\n"
        f"RoleProcess((sys.executable, '-c', {child!r})).wait_ready()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen((sys.executable, "-c", parent), env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) as killed:
        # It ends when the child has.
        assert pipe.read_text() == "started"
    assert killed.returncode == -signal.SIGKILL


def test_one_may_wait_for_another_that_ends_after_it(tmp_path: Path) -> None:
    """As a reader does whose own messages are still being read."""
    pipe, note = tmp_path / "pipe", tmp_path / "note"
    os.mkfifo(pipe)
    listens = "import sys; print('ready', flush=True); sys.stdin.read()\n"
    with RoleProcesses() as roles:
        first = roles.add(role(f"{listens}open({str(pipe)!r}, 'w').write('read')"))
        last = roles.add(role(f"{listens}open({str(note)!r}, 'w').write(open({str(pipe)!r}).read())"))
        first.wait_ready()
        last.wait_ready()
    assert note.read_text() == "read"
