"""Processes that take part in a measurement: started, told what to do, asked what came of it, and ended.

What such a process does, in any language: it writes a line with ``ready`` when it is wired, then reads commands from
its standard input, a line each, and answers each with one line of JSON on its standard output. It ends when its
standard input does. What it writes to standard error is kept, and shown when it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any, Literal, Self

from mycelium.core.errors import MyceliumError

PATIENCE = 60.0
"""Seconds, chosen by us: how long a process may take to be ready or to answer, unless told otherwise."""

END_PATIENCE = 10.0
"""Seconds, chosen by us: how long it may take to end before it is killed."""

_KEPT_LINES = 50
_TETHER = Path(__file__).with_name("tether.py")


class RoleError(MyceliumError):
    """A process that takes part in a measurement failed.

    Args:
        role: what it is called.
        reason: what it did, or did not do.
        said: the last lines that it wrote to standard error.
    """

    def __init__(self, role: str, reason: str, said: Sequence[str] = ()) -> None:
        super().__init__("\n".join((f"{role} {reason}", *(f"  {line}" for line in said))))
        self.role: str = role
        self.reason: str = reason
        self.said: tuple[str, ...] = tuple(said)


class RoleProcess:
    """One process. It is started at once; :meth:`wait_ready` before it is asked something.

    It is in a session of its own, so that Ctrl-C reaches its parent alone, and ends with the thread that started it, if
    that is killed (on Linux). As a context manager it waits until the process is ready, and ends it.

    Args:
        command: the program and its arguments.
        name: what errors call it; the program by default.
        ready_in: where it says ``ready``: a program of others may do so in its log.
        end_signal: what ends it; by default the end of its standard input does.
        environment: of the process; this one's by default.
        patience: seconds that it may take to be ready.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        name: str | None = None,
        ready_in: Literal["stdout", "stderr"] = "stdout",
        end_signal: signal.Signals | None = None,
        environment: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        words = [str(word) for word in command]
        self.name: str = name or Path(words[0]).name
        self._ready_in = ready_in
        self._end_signal = end_signal
        self._patience = patience
        # What it writes, and None when there will be no more. Its log only until it is ready.
        self._answers: SimpleQueue[str | None] = SimpleQueue()
        self._log: SimpleQueue[str | None] = SimpleQueue()
        self._is_ready = False
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = subprocess.Popen(  # noqa: S603 - who measures says what
            [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        # A pipe that nobody empties would stop the process.
        self._listeners = [
            threading.Thread(target=listen, args=(stream,), daemon=True)
            for listen, stream in ((self._hear, self._process.stdout), (self._overhear, self._process.stderr))
        ]
        for listener in self._listeners:
            listener.start()

    @classmethod
    def python(cls, module: str, *arguments: object, name: str | None = None, **options: Any) -> Self:
        """A module, run by this Python: ``python -m module arguments``.

        Args:
            module: its dotted name.
            arguments: of its command line.
            name: what errors call it; the last part of the module's name by default.
            options: as the class takes them.
        """
        command = (sys.executable, "-m", module, *arguments)
        return cls(command, name=name or module.rpartition(".")[2], **options)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when it has said that it is ready.

        Raises:
            RoleError: it ended before, or took too long.
        """
        deadline = time.monotonic() + self._patience
        lines = self._log if self._ready_in == "stderr" else self._answers
        while not self._is_ready:
            self._is_ready = "ready" in self._line(lines, "was not ready", self._patience, deadline)

    def ask(self, command: str, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Tell it to do something, and wait for what it answers.

        Args:
            command: one line.
            seconds: how long it may take.

        Raises:
            RoleError: it ended, took too long, or answered something else than a JSON object.
        """
        self.tell(command)
        return self.answer(seconds=seconds)

    def tell(self, command: str) -> None:
        """Tell it to do something; :meth:`answer` waits for what came of it.

        Raises:
            RoleError: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(f"before it was told {command!r}") from None

    def answer(self, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for its next answer.

        Args:
            seconds: how long it may take.

        Raises:
            RoleError: it ended, took too long, or answered something else than a JSON object.
        """
        line = self._line(self._answers, "has not answered", seconds, time.monotonic() + seconds)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RoleError(self.name, f"answered no JSON object but {line!r}", tuple(self._said))
        return answer

    def say_no_more(self) -> None:
        """Close its standard input: there are no more commands."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, *, at_once: bool = False) -> None:
        """End it, whatever state it is in. Closing twice is allowed.

        Args:
            at_once: kill it; by default it may first finish what it does.
        """
        self.say_no_more()
        try:
            if not at_once:
                if self._end_signal is not None:
                    self._process.send_signal(self._end_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_PATIENCE)
        finally:
            # Also what it has started itself; and also where a second Ctrl-C ends the waiting.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for listener in self._listeners:
                listener.join()

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.close(at_once=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)

    def _hear(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._answers.put(line.rstrip("\n"))
        self._answers.put(None)

    def _overhear(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._said.append(line.rstrip())
                if not self._is_ready:
                    self._log.put(line)
        self._log.put(None)

    def _line(self, lines: SimpleQueue[str | None], what: str, seconds: float, deadline: float) -> str:
        """The next of the lines that it writes."""
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise RoleError(self.name, f"{what} in {seconds:g} s", tuple(self._said)) from None
        if line is None:
            raise self._ended("before it was ready or had answered")
        return line

    def _ended(self, when: str) -> RoleError:
        code = self._process.wait()
        self._listeners[1].join()  # for its last words
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return RoleError(self.name, f"ended with {how} {when}", tuple(self._said))


class RoleProcesses:
    """Several processes, which end together. Use it as a context manager.

    All are told that there are no more commands, since one may wait for what another has read to the end. Then they are
    ended one after the other, the one that was started last first.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._processes: list[RoleProcess] = []

    def add(self, process: RoleProcess) -> RoleProcess:
        """Take one over. It need not be ready yet: those that wait for one another are started together."""
        self._processes.append(process)
        self._stack.push(process.__exit__)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.say_no_more()
        self._stack.__exit__(kind, error, traceback)
