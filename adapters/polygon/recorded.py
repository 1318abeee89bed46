"""The source that reads recorded logs, and publishes what they mean for the market."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import ExitStack
from itertools import islice

from adapters.polygon.capture import CaptureReader, Reading
from adapters.polygon.importers.csv_logs import CsvReader
from adapters.polygon.lines import Fault
from adapters.polygon.pools import Ignored, PoolBook, Refused
from adapters.polygon.settings import PolygonSettings
from contracts.market import BlockClosed, PoolSync, SwapEvent
from mycelium.core.errors import ConfigError, Problem
from mycelium.core.message import Message
from mycelium.service import Service

CHUNK = 512
"""Logs read at a time in a thread of their own: about 6 ms of work, so that the event loop waits for no disk."""


class RecordedSource:
    """Publishes the pools of its source, then every event in it, block by block, and ends with the source.

    Every block of which it has read a log is closed with a :class:`BlockClosed`, also when it is asked to stop.

    Args:
        service: in whose name it publishes and counts.
        settings: what to read.
    """

    waits_for: str | None = None
    """It is ready at once."""

    def __init__(self, service: Service[PolygonSettings], settings: PolygonSettings) -> None:
        assert settings.source is not None
        self._service = service
        self._settings = settings
        self._name = settings.source.name

    async def start(self) -> None:
        """Open the source.

        Raises:
            ConfigError: it is missing, unreadable, without a usable header, or of another chain.
        """
        self._reading = threading.Lock()
        self._reader = await asyncio.to_thread(open_source, self._settings)
        self._readings = iter(self._reader)
        self._book = PoolBook(self._reader.header.pools, self._reader.header.missing_tokens)
        self._block, self._timestamp = -1, 0
        self._published: Counter[type[Message]] = Counter()
        self._scope = ExitStack()

    async def run(self) -> None:
        """Publish what the source holds."""
        with self._scope:
            await self._publish_all()

    async def _publish_all(self) -> None:
        for pool in self._book.pools:
            await self._service.publish(pool)
        # From the first log of a higher block on, the book takes none of a lower one any more.
        while chunk := await asyncio.to_thread(self._next_chunk):
            for reading in chunk:
                if not isinstance(reading, Fault) and reading.log.block > self._block and not reading.log.removed:
                    await self._close_block()
                    await self._service.breathe()
                    self._block, self._timestamp = reading.log.block, reading.log.timestamp
                    attributes = {"chain.id": self._settings.chain_id, "block.number": self._block}
                    self._scope.enter_context(self._service.traced("block", **attributes))
                await self._handle(reading)
            self._service.progress(self._reader.consumed, self._reader.size, "bytes")
        await self._close_block()
        await self._service.breathe()

    async def stop(self) -> None:
        """Close the source."""
        await asyncio.to_thread(self._close)

    async def _handle(self, reading: Reading) -> None:
        intake = self._service.intake("capture")
        where = f"{self._name}, {reading.position}"
        if isinstance(reading, Fault):
            intake.refuse(reading.cause, where, reading.detail)
            return
        applied = self._book.apply(reading.log)
        if isinstance(applied, Refused):
            place = f"block {reading.log.block}, log {reading.log.log_index}"
            intake.refuse(applied.cause, f"{where}, {place}", applied.detail)
        elif isinstance(applied, Ignored):
            intake.ignore(applied.cause)
        else:
            for message in applied:
                await self._service.publish(message)
                self._published[type(message)] += 1
            intake.accept()

    async def _close_block(self) -> None:
        """Say what has been published of the block that is open, if one is."""
        if self._block < 0:
            return
        swaps, syncs = self._published[SwapEvent], self._published[PoolSync]
        chain, pools = self._settings.chain_id, len(self._book.pools)
        self._published.clear()
        await self._service.publish(BlockClosed(chain, self._block, self._timestamp, swaps, syncs, pools))
        self._scope.close()

    def _next_chunk(self) -> list[Reading]:
        with self._reading:
            return list(islice(self._readings, CHUNK))

    def _close(self) -> None:
        # A cancelled run may have left its thread in the middle of a chunk.
        with self._reading:
            self._reader.close()


def open_source(settings: PolygonSettings) -> CaptureReader | CsvReader:
    """Open what the settings name.

    Raises:
        ConfigError: it is missing, unreadable, without a usable header, or of another chain.
    """
    assert settings.source is not None
    if settings.is_csv:
        return CsvReader(settings.source, settings.pools[0].metadata(), chain_id=settings.chain_id)
    reader = CaptureReader(settings.source)
    if reader.header.chain_id != settings.chain_id:
        reader.close()
        message = f"is of chain {reader.header.chain_id}, the settings say {settings.chain_id}"
        raise ConfigError([Problem(str(settings.source), "chain_id", message)])
    return reader
