"""A chain that goes on, and the system on it as real processes, each of which can be killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.polygon.record.playground import Playground
from adapters.polygon.record.tools import Tools
from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY

CONFIG = REPOSITORY / "config" / "demo-dashboard.toml"
BUNDLES = ("market", "strategy", "report", "dashboard")


class World:
    """The processes.

    Args:
        directory: for what they keep.
        node: port of the chain's node.
    """

    def __init__(self, directory: Path, node: int) -> None:
        (self.port,) = free_ports(1)
        self.directory = directory
        address = f"127.0.0.1:{node}"
        self._environment = {
            **os.environ,
            "MYCELIUM_SERVICES__DASHBOARD__PORT": str(self.port),
            "MYCELIUM_SERVICES__POLYGON_ADAPTER__LIVE__ENDPOINTS": json.dumps(
                [{"url": f"http://{address}", "websocket": f"ws://{address}"}]
            ),
            "MYCELIUM_SERVICES__POLYGON_ADAPTER__LIVE__STATE": str(directory / "state.sqlite"),
            "MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(directory / "report"),
            "MYCELIUM_DEPLOYMENT__STATE_DIR": str(directory / "state"),
            "MYCELIUM_INTER_BUNDLE__SOCKET_DIR": str(directory / "sockets"),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """Of the dashboard."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self, bundle: str) -> None:
        """Start the process of a bundle."""
        command = [sys.executable, "-m", "mycelium", "run", "--bundle", bundle, "--config", str(CONFIG), "--quiet"]
        with (self.directory / f"{bundle}.log").open("ab") as log:
            self._running[bundle] = subprocess.Popen(
                command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log
            )

    def kill(self, bundle: str) -> None:
        """End a process as a machine would that loses its power."""
        process = self._running[bundle]
        process.send_signal(signal.SIGKILL)
        process.wait()

    def state(self) -> Any:
        """The whole picture, as JSON; None while the dashboard is not there."""
        try:
            with urllib.request.urlopen(f"{self.address}state", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def said(self) -> str:
        """What the processes wrote, for one who looks for a failure."""
        return "\n".join(
            f"--- {name}\n{(self.directory / f'{name}.log').read_text()[-3000:]}" for name in self._running
        )

    def end(self) -> None:
        """End all."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def trading(tools: Tools, directory: Path, block_seconds: float = 0.5) -> Iterator[World]:
    """A market on which somebody trades, and the system on it."""
    stopping = threading.Event()
    with Playground(tools, seed=7) as playground:

        def trade() -> None:
            while not stopping.wait(block_seconds):
                playground.trade()

        trader = threading.Thread(target=trade, name="trade")
        world = World(directory, playground.node.port)
        trader.start()
        try:
            for bundle in reversed(BUNDLES):
                world.start(bundle)
            yield world
        finally:
            world.end()
            stopping.set()
            trader.join()
