"""Applies to every test: async functions run in a loop of their own, and nothing may be left behind."""

from __future__ import annotations

import os
import sys

if os.environ.get("MYCELIUM_CODEC") == "python":
    # As if it had been installed without a compiler: the import fails.
    sys.modules["mycelium.core._codec"] = None  # type: ignore[assignment]

import asyncio
import inspect
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from blockbuster import blockbuster_ctx
from hypothesis import settings

from mycelium.observe.logs import configure_logging
from mycelium.transport.sockets import shared_context
from tests.systems import SmallSystem

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# A job in the background of a shell ignores Ctrl-C, and so would every process that a test starts and sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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

    with blockbuster_ctx("mycelium") as blockbuster, asyncio.Runner() as runner:
        # The network's lock is held for a few lines at a time, and coverage has one of its own.
        for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
            blockbuster.functions[name].deactivate()
        for function in blockbuster.functions.values():
            # A traceback in the log reads source lines; it is rare, and the log would be poor without it.
            function.can_block_in("linecache.py", {"checkcache", "updatecache", "lazycache"})
            # A store binds and opens its journal before it serves, and a journal waits for its disk and nothing else.
            function.can_block_in("transport/binding.py", {"bind", "close"})
            function.can_block_in("journal/lmdb_store.py", {"__init__", "close", "statistics"})
            function.can_block_in("journal/outbox.py", {"__init__", "close"})
        left = runner.run(run())
    assert not left, f"tasks were left behind: {left}"
    return True


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Each test logs as a process of ours does, whatever the one before configured."""
    configure_logging(level="debug")
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


@pytest.fixture
def small_system(tmp_path: Path) -> Iterator[SmallSystem]:
    """A correct small system in files."""
    system = SmallSystem(tmp_path)
    yield system
    system.forget()
