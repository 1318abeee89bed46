"""``python -m adapters.polygon demo-live``: a node, trades on it, and the whole system as a user would run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from rich.console import Console

from adapters.polygon.record.playground import Playground
from adapters.polygon.record.tools import Tools
from mycelium.topology.load import load_topology

STOP_SECONDS = 60.0
"""How long the system may take to write its report."""


def run_live_demo(
    tools: Tools,
    config: Path,
    directory: Path,
    *,
    seed: int,
    blocks: int | None,
    block_seconds: float,
    port: int,
) -> int:
    """Trade, and let the system run on it, until so many blocks are done, or Ctrl-C.

    Args:
        tools: the installed parts.
        config: the system's topology.
        directory: for its state and report; what an earlier run has left there is removed, since its chain is gone.
        seed: of the trades.
        blocks: how many; None for no end.
        block_seconds: from block to block.
        port: of the node.

    Returns:
        The system's exit code; 0 if it was ended by Ctrl-C and had nothing to complain of.

    Raises:
        ConfigError: the topology is wrong.
        NodeError: the node did not start, or failed.
    """
    dashboard = dashboard_address(config)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    stopping = threading.Event()
    with Playground(tools, seed=seed, port=port) as playground:
        address = f"127.0.0.1:{playground.node.port}"
        endpoints = json.dumps([{"url": f"http://{address}", "websocket": f"ws://{address}"}])
        command = [sys.executable, "-m", "mycelium", "run", "--config", str(config)]
        command += ["--summary", str(directory / "summary.json")]
        environment = {**os.environ, "MYCELIUM_SERVICES__POLYGON_ADAPTER__LIVE__ENDPOINTS": endpoints}
        # In a session of its own: Ctrl-C is for us, and it is ended when there is nothing more to come.
        system = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
        if dashboard is not None:
            Console(stderr=True, soft_wrap=True).print(f"the dashboard: {dashboard}", highlight=False)
        before = signal.signal(signal.SIGINT, lambda *_: stopping.set())
        try:
            done = 0
            while not stopping.is_set() and system.poll() is None and (blocks is None or done < blocks):
                playground.trade()
                done += 1
                stopping.wait(block_seconds)
            if system.poll() is None:
                system.terminate()
            return system.wait(STOP_SECONDS)
        finally:
            signal.signal(signal.SIGINT, before)
            if system.poll() is None:
                system.kill()
                system.wait()


def dashboard_address(config: Path) -> str | None:
    """Where the dashboard of a topology is, for a browser on this host; None if it is served nowhere.

    Args:
        config: the topology.

    Raises:
        ConfigError: it cannot be read.
    """
    port = load_topology(config).values.services.get("dashboard", {}).get("port")
    return None if port is None else f"http://127.0.0.1:{port}/"
