"""Records blocks of a chain into a capture, and goes on where it was when it is started again.

While it is not complete, the capture stands beside its place under ``<name>.partial``, with ``<name>.partial.json``,
which says how many of its bytes are good and which block comes next. Both are on the disk before more is asked for: a
process that is killed has lost at most one question's blocks, and what it had half written is cut off.

Blocks are recorded when others stand on them, so that nothing has to be taken back in a file.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import stamina

from adapters.polygon.capture import CaptureReader, Header, compact, header_to_json
from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.connection import Connection
from adapters.polygon.live.follow import ChainError
from adapters.polygon.logs import Log, log_to_json
from contracts.market import PoolMetadata
from mycelium.core.errors import ConfigError, Problem

BLOCKS_AT_ONCE = 500
"""Between two notes of how far it is."""

T = TypeVar("T")

LOOK_SECONDS = 1.0
"""How often it is looked whether to stop, while nothing comes."""


class Place(msgspec.Struct, frozen=True):
    """How far a capture is.

    Args:
        chain_id: the chain's EIP-155 number.
        first: the first block.
        next: the block to go on with.
        size: bytes of the file that are good.
        logs: that are in it.
    """

    chain_id: int
    first: int
    next: int
    size: int
    logs: int = 0


@dataclass(frozen=True, slots=True)
class Captured:
    """What was recorded.

    Args:
        place: how far it is.
        pools: in it.
        is_complete: whether the file is at its place.
    """

    place: Place
    pools: int
    is_complete: bool


class PartialCapture:
    """A capture that is being written.

    Args:
        out: where it will be; gzip'd if it ends in ``.gz``.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self.path: Path = out.with_name(out.name + ".partial")
        """Where it is until then."""
        self._note = out.with_name(out.name + ".partial.json")

    def place(self) -> Place | None:
        """How far it is; None if it has not begun.

        Raises:
            ConfigError: there is a complete one, or the note cannot be read.
        """
        if self._out.exists():
            raise ConfigError([Problem(str(self._out), "", "is there already; move it away, or choose another name")])
        try:
            place = msgspec.json.decode(self._note.read_bytes(), type=Place)
            size = self.path.stat().st_size
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            text = f"cannot be read: {error}; begin anew without it"
            raise ConfigError([Problem(str(self._note), "", text)]) from None
        if size < place.size:
            text = f"has {size} bytes, {self._note.name} says {place.size}; begin anew without both"
            raise ConfigError([Problem(str(self.path), "", text)])
        return place

    def header(self) -> Header:
        """What it says of itself."""
        with CaptureReader(self.path) as reader:
            return reader.header

    def begin(self, header: Header, first: int) -> Place:
        """Write the header."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        return self._append(Place(header.chain_id, first, first, 0), [header_to_json(header)], first, 0)

    def add(self, place: Place, logs: Sequence[Log], last: int) -> Place:
        """Write the logs of all blocks up to one, and note that. Where it is then."""
        return self._append(place, [log_to_json(log) for log in logs], last + 1, len(logs))

    def _append(self, place: Place, lines: Sequence[dict[str, Any]], next_block: int, logs: int) -> Place:
        data = b"".join(compact(line) for line in lines)
        if data and self._out.name.endswith(".gz"):
            data = gzip.compress(data, mtime=0)  # members one after the other are one gzip file
        with self.path.open("r+b") as file:
            file.truncate(place.size)
            file.seek(place.size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        found = Place(place.chain_id, place.first, next_block, place.size + len(data), place.logs + logs)
        new = self._note.with_name(self._note.name + ".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(found))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._note)
        return found

    def finish(self) -> None:
        """Put it where it belongs."""
        self.path.replace(self._out)
        self._note.unlink()


async def capture(
    connection: Connection,
    out: PartialCapture,
    pools: Sequence[PoolMetadata],
    place: Place,
    last: int | None,
    *,
    confirmations: int,
    stopping: asyncio.Event,
    on_progress: Callable[[Place, int], None],
) -> Captured:
    """Record blocks from a place on.

    Args:
        connection: the chain; its watch has the pools.
        out: where to write.
        pools: that are recorded.
        place: where to go on.
        last: the last block; None to go on until told to stop.
        confirmations: how many blocks must stand on one before it is recorded.
        stopping: set when it is to stop.
        on_progress: told where it is, and up to which block it can go now.
    """
    listening = asyncio.ensure_future(connection.heads.listen())
    try:
        while not stopping.is_set() and (last is None or place.next <= last):
            head = connection.heads.best()
            limit = -1 if head is None else head.header.number - confirmations
            target = limit if last is None else min(last, limit)
            if place.next > target:
                await connection.heads.changed(LOOK_SECONDS)
                continue
            end = min(target, place.next + BLOCKS_AT_ONCE - 1)
            try:
                blocks = await again(partial(connection.chain.blocks_between, place.next, end), stopping)
            except ChainError:
                if not stopping.is_set():
                    raise
                break
            logs = [log for _, found in blocks for log in sorted(found, key=lambda one: one.log_index)]
            place = await asyncio.to_thread(out.add, place, logs, end)
            on_progress(place, target)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    is_complete = last is None or place.next > last
    if is_complete:
        await asyncio.to_thread(out.finish)
    return Captured(place, len(pools), is_complete)


async def again(work: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """Try until it works.

    Args:
        work: what to do.
        stopping: when set, the next failure is the last.

    Raises:
        ChainError, EndpointError: it failed, and is to stop.
    """
    async for attempt in stamina.retry_context(
        on=lambda error: isinstance(error, ChainError | EndpointError) and not stopping.is_set(),
        attempts=None,
        timeout=None,
        wait_initial=0.1,
        wait_max=5.0,
    ):
        with attempt:
            return await work()
    raise AssertionError("retries without end ended")
