"""Starting processes, waiting for what they say, ending them."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from mycelium.cli.fabric import broker_address
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.ports import free_ports
from tests.chaos.controller import REPOSITORY, SPEC

PATIENCE = 30.0
"""Seconds: how long a process may take to say what is waited for."""


class Running:
    """A process. What it writes can be waited for, line by line; what it is told goes to its standard input.

    Args:
        module: what Python runs.
        arguments: of the command line.
        columns: of its terminal.
    """

    def __init__(self, module: str, *arguments: object, columns: int = 200) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": str(columns), "PYTHONFAULTHANDLER": "1"},
        )
        self.said: list[str] = []
        """Every line so far."""
        self._new: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._new.put(line)
        self._new.put("")

    def wait_for(self, text: str, *, seconds: float = PATIENCE) -> str:
        """The next line that has ``text``. Each line may take so many seconds."""
        while True:
            try:
                line = self._new.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"has not said {text!r} within {seconds:g} s: {self.text}") from None
            if not line:
                raise AssertionError(f"ended without saying {text!r}: {''.join(self.said)}")
            if text in line:
                return line

    def tell(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ask(self, text: str) -> str:
        """Tell it to do something, and wait until it has said that it is done."""
        self.tell(text)
        return self.wait_for("done")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal that ends it; its exit code. Everything that it has said is in :attr:`said` then."""
        self.process.send_signal(number)
        return self.wait()

    def finish(self) -> int:
        """Let it end by itself: there is nothing more to do. Its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it says where it is
            self.process.wait(PATIENCE)
            self._listener.join()
            raise AssertionError(f"has not ended within {PATIENCE:g} s: {self.text}") from None
        self._listener.join()
        return code

    @property
    def text(self) -> str:
        """Everything that it has said."""
        return "".join(self.said)

    def close(self) -> None:
        """Whatever state it is in: it ends."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._listener.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Processes:
    """All processes of a test, which end with it.

    Args:
        directory: where topology and state are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "distributed.toml"
        self._started: list[Running] = []

    def start(self, module: str, *arguments: object, columns: int = 200) -> Running:
        """Start a process."""
        process = Running(module, *arguments, columns=columns)
        self._started.append(process)
        return process

    def configure(self, broker: str = "") -> StoreAddress:
        """Write a topology with a broker on ports that are free; ``broker`` are further lines of its table."""
        frames, control, publish = free_ports(3)
        (self.directory / "system.yaml").write_text(SPEC)
        self.config.write_text(
            '[deployment]\nmode = "distributed"\nstate_dir = "state"\n'
            f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n{broker}\n"
            '[[bundles]]\nname = "all"\nservices = ["chaos"]\n'
        )
        settings = load_topology(self.config).values.broker
        assert settings is not None
        return broker_address(settings)

    @property
    def journal(self) -> Path:
        """Of the broker."""
        return self.directory / "state" / "journal-broker"

    def broker(self) -> Running:
        """Start the broker, and wait until it serves."""
        process = self.mycelium("broker", "--config", self.config)
        process.wait_for("ready")
        return process

    def mycelium(self, *arguments: object) -> Running:
        """Start a command."""
        return self.start("mycelium", *arguments)

    def publisher(self, name: str, address: StoreAddress, *, outbox: bool = False, own: str = "") -> Running:
        """Start ``tests.processes.publisher``, which waits to be told what to do."""
        box = self.directory / f"outbox-{name}" if outbox else "-"
        process = self.start(
            "tests.processes.publisher", name, address.frames, address.control, address.publish or "-", box, own or "-"
        )
        process.wait_for("ready")
        return process

    def close(self) -> None:
        """End them all."""
        for process in self._started:
            process.close()


@contextlib.contextmanager
def processes(directory: Path) -> Iterator[Processes]:
    """The processes of one test."""
    made = Processes(directory)
    try:
        yield made
    finally:
        made.close()
