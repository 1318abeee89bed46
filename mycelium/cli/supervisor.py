"""Runs processes that belong together until their work is done, and leaves none behind.

Theory of operation. Some processes lead: when every one of them has ended by itself with exit code 0, the run is over.
Then the others are told to end, one after another in a given order, publishers before their readers, each with SIGTERM,
and each is waited for before the next is told: so all that was published is handled. A process that fails, or ends
before its time, begins the same. One that takes too long is killed.

Ctrl-C and SIGTERM reach this process alone, since the others are in sessions of their own: the first begins the end,
a second Ctrl-C kills all. If this process itself is killed, the kernel kills the others (on Linux).

One thread per process passes its lines on and then says that it has ended; everything else happens in one loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LONGEST_LINE = 1 << 20  # chosen by us: a line without end must not fill the memory
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Show = Callable[[str, str], None]
"""Takes a part's name and a line that it wrote."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the processes.

    Args:
        name: what it is called before its lines.
        command: the program and its arguments.
        leads: the run is over when all that lead have ended.
    """

    name: str
    command: tuple[str, ...]
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Args:
        failed: what went wrong, as sentences, the first cause first.
        signals: what this process was sent.
    """

    failed: tuple[str, ...]
    signals: tuple[signal.Signals, ...]


class Supervisor:
    """Runs the parts once.

    Args:
        parts: in the order in which they are told to end; they are started in the opposite one.
        environment: of every process.
        show: gets what they write to standard error, from threads.
        patience: seconds that a process may take to end after it was told.
    """

    def __init__(self, parts: Sequence[Part], *, environment: Mapping[str, str], show: Show, patience: float) -> None:
        self._parts = parts
        self._environment = environment
        self._show = show
        self._patience = patience
        self._alive: list[_Child] = []
        self._failed: list[str] = []
        self._signals: list[signal.Signals] = []
        # A signal handler runs between any two instructions, also inside of a queue's: this kind bears it.
        self._events: SimpleQueue[_Child | signal.Signals] = SimpleQueue()

    def run(self, display: AbstractContextManager[object]) -> Result:
        """Start all, and return when all have ended. Call it in the main thread, before other threads are started.

        Args:
            display: entered when all have been started; it may start threads.

        Raises:
            OSError: one could not be started; the others are killed.
        """
        with self._handling_signals():
            try:
                self._start()
                with display:
                    self._follow()
            finally:
                for child in list(self._alive):
                    child.kill()
                    child.wait()
        return Result(tuple(self._failed), tuple(self._signals))

    def _start(self) -> None:
        tether = _tether(os.getpid())
        for part in reversed(self._parts):
            self._alive.insert(0, _Child(part, self._environment, tether))

    def _follow(self) -> None:
        for child in self._alive:
            child.follow(self._show, self._events.put)
        over, deadline = False, 0.0
        while self._alive:
            next_one = self._alive[0]
            if over and not next_one.told:
                next_one.tell()
                deadline = time.monotonic() + self._patience
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()) if over else None)
            except Empty:
                next_one.late = True
                next_one.kill()
                deadline = time.monotonic() + self._patience
                continue
            if isinstance(event, _Child):
                over = self._has_ended(event) or over
            else:
                if event is signal.SIGINT and event in self._signals:
                    for child in self._alive:
                        child.kill()
                self._signals.append(event)
                over = True

    def _has_ended(self, child: _Child) -> bool:
        """Take note of it; whether the run is over."""
        child.wait()
        self._alive.remove(child)
        failure = child.failure(self._patience)
        if failure is not None:
            self._failed.append(f"{child.part.name} {failure}")
        return failure is not None or not any(other.part.leads for other in self._alive)

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        def received(number: int, _frame: FrameType | None) -> None:
            self._events.put(signal.Signals(number))

        before = [(number, signal.signal(number, received)) for number in _SIGNALS]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)


class _Child:
    """A process that has been started."""

    def __init__(self, part: Part, environment: Mapping[str, str], tether: Callable[[], None] | None) -> None:
        self.part = part
        self.told = False
        self.late = False
        self._last_line = ""
        self._reader: threading.Thread | None = None
        self._process = subprocess.Popen(  # noqa: S603 - the parts are ours
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=tether,  # noqa: PLW1509 - threads make it unsafe, and there are none yet
        )

    def follow(self, show: Show, ended: Callable[[_Child], None]) -> None:
        """Pass its lines on until it ends, and say so then."""

        def read() -> None:
            try:
                for line in self._lines():
                    self._last_line = line or self._last_line
                    show(self.part.name, line)
            finally:
                self._process.wait()
                ended(self)

        self._reader = threading.Thread(target=read, name=f"lines of {self.part.name}")
        self._reader.start()

    def _lines(self) -> Iterator[str]:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while line := stream.readline(_LONGEST_LINE):
                yield line.decode(errors="replace").rstrip()

    def tell(self) -> None:
        """Ask it to end."""
        self.told = True
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, with all that it has started itself."""
        with contextlib.suppress(ProcessLookupError):  # it may end by itself meanwhile
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Return when it has ended and nothing of it is left."""
        if self._reader is not None:
            self._reader.join()
        elif self._process.stderr is not None:
            self._process.stderr.close()
        self._process.wait()

    def failure(self, patience: float) -> str | None:
        """What was wrong with how it ended."""
        code = self._process.returncode
        if self.late:
            return f"was killed: it was told to end and had not after {patience:g} s"
        if self.told and code == -signal.SIGTERM:
            return None  # it had not yet come to where it listens to that
        if code != 0:
            how = f"failed with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"
            return f"{how}: {self._last_line}" if self._last_line else how
        return None if self.told or self.part.leads else "ended before the run was over"


def _tether(parent: int) -> Callable[[], None] | None:
    """What a process does before its program begins, so as not to outlive ``parent``; None where that cannot be."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None

    def tether() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return tether
