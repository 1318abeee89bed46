"""A real node, and processes that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.polygon.record import MissingToolError, Tools
from adapters.polygon.record.node import Node
from tests.conftest import REPOSITORY
from tests.live.world import World
from tests.processes.running import Processes, processes


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def world(tools: Tools) -> Iterator[World]:
    with Node(tools.anvil, keeps_states=True) as node:
        yield World(node, tools, 7)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def endpoints(world: World) -> list[dict[str, str]]:
    """The node itself."""
    address = f"127.0.0.1:{world.port}"
    return [{"url": f"http://{address}", "websocket": f"ws://{address}"}]
