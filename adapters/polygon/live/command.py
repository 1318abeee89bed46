"""``python -m adapters.polygon capture``: from a topology's settings to a capture, with progress."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from adapters.polygon.capture import Header
from adapters.polygon.live.capturing import Captured, PartialCapture, Place, again, capture
from adapters.polygon.live.connection import Connection
from adapters.polygon.live.facts import Unfit
from adapters.polygon.live.settings import LiveSettings
from adapters.polygon.pools import PoolBook
from adapters.polygon.settings import PolygonSettings
from contracts.values import Address
from mycelium.bus.clock import SystemClock
from mycelium.cli.system import load_system, placements
from mycelium.core.errors import ConfigError, Problem

SERVICE = "polygon_adapter"

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(SERVICE)


def live_settings(config: Path) -> tuple[LiveSettings, int]:
    """What a topology says of the chain to follow, and the chain's number.

    Raises:
        ConfigError: it says nothing of one, or something wrong.
    """
    settings = placements(load_system(config), [SERVICE])[0].settings
    assert isinstance(settings, PolygonSettings)
    if settings.live is None:
        text = "is missing: say which endpoints and pools there are; see config/polygon-live.toml"
        raise ConfigError([Problem(str(config), f"services.{SERVICE}.live", text)])
    return settings.live, settings.chain_id


async def run_capture(
    settings: LiveSettings,
    chain_id: int,
    out: Path,
    first: int | None,
    last: int | None,
    *,
    confirmations: int,
    on_progress: Callable[[Place, int], None],
) -> Captured:
    """Record, until the last block or a signal.

    Args:
        settings: the chain and its pools.
        chain_id: its number.
        out: the capture's file.
        first: the first block; None for the newest.
        last: the last one; None to go on until a signal.
        confirmations: how many blocks must stand on one before it is recorded.
        on_progress: told how far it is.

    Raises:
        ConfigError: there is a capture already, or what is there does not fit.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    partial = PartialCapture(out)
    place = await asyncio.to_thread(partial.place)
    book = PoolBook(())

    def refuse(pool: Address, unfit: Unfit) -> None:
        log.warning("left out", pool=str(pool), reason=str(unfit))

    async with Connection(settings, chain_id, book, (), refuse, SystemClock(), time.monotonic) as connection:
        await again(connection.check_chain, stopping)
        if place is None:
            place = await again(lambda: _begin(connection, partial, settings, chain_id, first, last, book), stopping)
        else:
            header = await asyncio.to_thread(partial.header)
            if header.chain_id != chain_id or first not in (None, place.first):
                text = f"was begun at block {place.first} of chain {header.chain_id}; begin anew without it"
                raise ConfigError([Problem(str(partial.path), "", text)])
            for pool in header.pools:
                book.add(pool)
        # Pools are described at the beginning of the file: those that come later have no place there.
        connection.watch.take_no_more()
        if not book.pools:
            where = f"services.{SERVICE}.live.pools"
            raise ConfigError([Problem("", where, "none of them can be followed: there is nothing to record")])
        return await capture(
            connection,
            partial,
            book.pools,
            place,
            last,
            confirmations=confirmations,
            stopping=stopping,
            on_progress=on_progress,
        )


async def _begin(
    connection: Connection,
    partial: PartialCapture,
    settings: LiveSettings,
    chain_id: int,
    first: int | None,
    last: int | None,
    book: PoolBook,
) -> Place:
    await connection.watch.follow(settings.pools)
    head = await connection.chain.newest()
    begin = head.number if first is None else first
    if settings.discover_from is not None:
        factories = [venue.factory for venue in settings.venues]
        until = head.number if last is None else min(last, head.number)
        await connection.chain.learn_between(settings.discover_from, until, factories)
    header = Header(chain_id, f"adapters.polygon capture, from block {begin}", book.pools)
    return await asyncio.to_thread(partial.begin, header, begin)
