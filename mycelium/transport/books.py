"""Asks a store for its books, from outside: what ``mycelium ledger`` and the chaos tests read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mycelium.core.delivery.control import AskBooks, Books, StreamBook, encode, from_store
from mycelium.core.errors import PathError, WireError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.sockets import Port, dealer

RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class StoreBooks:
    """The books of one store.

    Args:
        store: its name.
        streams: what it has of each stream, and how far its readers are.
        refused: messages and frames refused, by cause.
        names: of the sources.
    """

    store: str
    streams: tuple[StreamBook, ...]
    refused: dict[str, int]
    names: dict[int, str]


async def read_books(address: StoreAddress, seconds: float) -> StoreBooks:
    """All pages of a store's books.

    Raises:
        PathError: it does not answer in time.
    """
    pages: asyncio.Queue[Books] = asyncio.Queue()

    def receive(burst: list[bytes]) -> None:
        for data in burst:
            try:
                said = from_store(data)
            except WireError:
                continue  # a newer store may say more than we know
            if isinstance(said, Books):
                pages.put_nowait(said)

    port = dealer(receive)
    try:
        port.connect(address.control)
        async with asyncio.timeout(seconds):
            return await _read(address.name, port, pages)
    except TimeoutError:
        raise PathError(address.control, f"{address.name} has not answered in {seconds:g} s; is it running?") from None
    finally:
        port.close()


async def _read(name: str, port: Port, pages: asyncio.Queue[Books]) -> StoreBooks:
    streams: list[StreamBook] = []
    names: dict[int, str] = {}
    while True:
        port.send(encode(AskBooks(len(streams))))
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                page = await pages.get()
                while page.offset != len(streams):
                    page = await pages.get()
        except TimeoutError:
            continue
        streams += page.streams
        names |= page.names
        if len(streams) >= page.total or not page.streams:
            return StoreBooks(name, tuple(streams), page.refused, names)
