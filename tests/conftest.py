"""Applies to every test: async functions run in a loop of their own, and nothing may be left behind."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from blockbuster import blockbuster_ctx
from hypothesis import settings

from mycelium.transport.sockets import shared_context

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# Deadlines measure the machine, and CI's is shared; a search that fails prints how to repeat it.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test; fail it if it leaves a task behind or blocks the event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def run() -> set[asyncio.Task[Any]]:
        await pyfuncitem.obj(**arguments)
        return asyncio.all_tasks() - {asyncio.current_task()}

    with blockbuster_ctx("mycelium"), asyncio.Runner() as runner:
        left = runner.run(run())
    assert not left, f"tasks were left behind: {left}"
    return True


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Each test starts with structlog as it comes, whatever the one before configured."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _every_socket_is_closed() -> Iterator[None]:
    """A ZeroMQ context that cannot end means that a socket was left open."""
    yield
    ending = threading.Thread(target=shared_context().term, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive(), "a ZeroMQ socket was left open"


@pytest.fixture
def shared_data() -> Path:
    """Recorded chain data beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"recorded chain data is not there: {SHARED_DATA.relative_to(REPOSITORY.parent)}")
    return SHARED_DATA
