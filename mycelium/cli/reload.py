"""Takes up a changed topology without a restart: on SIGHUP, and when a file of it has changed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from mycelium.core.errors import ConfigError
from mycelium.topology.load import LoadedTopology, load_topology
from mycelium.topology.model import Topology

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("config")

LOOK_SECONDS = 1.0
"""Between two looks whether a file has changed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Files beside the topology.

    Args:
        state: something that compares unequal when they have changed, or mean something else by now. May wait for the
            disk.
        take_up: goes by what they say now; it says itself what is wrong with them.
    """

    state: Callable[[], object]
    take_up: Callable[[], None]


class Reloader:
    """Holds a running process to its topology.

    Args:
        topology: what it runs with.
        changeable: keys that may change while it runs, and all below them.
        apply: takes up new values, of which only changeable keys differ.
        others: other files, which have changed when what they say has changed.
    """

    def __init__(
        self,
        topology: LoadedTopology,
        changeable: frozenset[str],
        apply: Callable[[Topology], None],
        others: Sequence[Watched] = (),
    ) -> None:
        self._others = others
        # As below: what was read to begin with may have changed since.
        self._seen: list[object] = [object() for _ in others]
        self._topology = topology
        self._changeable = changeable
        self._apply = apply
        # Nothing yet: a file may have changed between the moment it was read and now.
        self._state: Mapping[Path, tuple[int, int] | None] = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Take up changes for as long as the block runs."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        looking = loop.create_task(self._look_forever(), name="look for a changed topology")
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            loop.remove_signal_handler(signal.SIGHUP)

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception:
                # Or keys that change later would be waited for in vain.
                log.exception("a look for changes failed")

    async def _look(self) -> None:
        if await asyncio.to_thread(self._files_state) != self._state:
            self._reload(tell_if_same=False)
        for number, watched in enumerate(self._others):
            state = await asyncio.to_thread(watched.state)
            if state != self._seen[number]:
                self._seen[number] = state
                watched.take_up()

    def _on_hangup(self) -> None:
        self.reload()
        for watched in self._others:
            watched.take_up()

    def _files_state(self) -> Mapping[Path, tuple[int, int] | None]:
        """What tells that a file has changed. None while it is not there: an editor is replacing it."""
        state: dict[Path, tuple[int, int] | None] = {}
        for layer in self._topology.layers.files:
            try:
                found = layer.path.stat()
            except OSError:
                state[layer.path] = None
            else:
                state[layer.path] = (found.st_mtime_ns, found.st_ino)
        return state

    def reload(self) -> None:
        """Read the topology again. It is taken up as a whole, or what is wrong with it is said and nothing changes."""
        self._reload(tell_if_same=True)

    def _reload(self, *, tell_if_same: bool) -> None:
        self._state = self._files_state()
        try:
            new = load_topology(self._topology.path)
        except ConfigError as error:
            for problem in error.problems:
                log.error("the changed topology is not taken up", problem=str(problem))
            return
        changes = changed_keys(self._topology.values.model_dump(), new.values.model_dump())
        refused = [key for key in changes if not self._may_change(key)]
        if refused:
            for key in refused:
                old, wanted = changes[key]
                log.error(
                    "the changed topology is not taken up: this needs a restart",
                    key=key,
                    now=old,
                    wanted=wanted,
                    can_change=sorted(self._changeable),
                )
            return
        self._topology = new
        if not changes:
            if tell_if_same:
                log.info("the topology has not changed")
            return
        self._apply(new.values)
        for key, (old, now) in changes.items():
            log.info("the changed topology is taken up", key=key, before=old, now=now)

    def _may_change(self, key: str) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in self._changeable)


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], under: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs between two topologies: the old and the new value by dotted key."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in {**old, **new}:
        before, after, key = old.get(name), new.get(name), f"{under}{name}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= changed_keys(before, after, f"{key}.")
        elif before != after:
            found[key] = (before, after)
    return found
