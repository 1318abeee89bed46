"""Asks a store for its books and its clients, from outside: what the tools of operators show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mycelium.core.delivery.control import (
    AskBooks,
    AskWho,
    Books,
    ClientEntry,
    Offence,
    StreamBook,
    Who,
    encode,
    from_store,
)
from mycelium.core.errors import PathError, WireError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.curve import options_of
from mycelium.transport.keyring import Credentials
from mycelium.transport.sockets import dealer

RETRY_SECONDS = 0.5

P = TypeVar("P", Books, Who)


class Ask(Protocol):
    """Asks for a page until it comes."""

    async def __call__(self, question: AskBooks | AskWho, kind: type[P]) -> P:
        """The page."""
        ...


@dataclass(frozen=True, slots=True)
class StoreBooks:
    """The books of one store.

    Args:
        store: its name.
        streams: what it has of each stream, and how far its readers are.
        refused: messages and frames refused, by cause.
        names: of the sources.
        offences: the same by who has caused it, as far as that is known.
    """

    store: str
    streams: tuple[StreamBook, ...]
    refused: dict[str, int]
    names: dict[int, str]
    offences: tuple[Offence, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreClients:
    """Who is there at one store.

    Args:
        store: its name.
        clients: those who are there.
        is_guarded: whether the store knows them by their keys.
    """

    store: str
    clients: tuple[ClientEntry, ...]
    is_guarded: bool


async def read_books(address: StoreAddress, seconds: float, credentials: Credentials | None = None) -> StoreBooks:
    """All pages of a store's books.

    Args:
        address: where it is.
        seconds: how long it may take.
        credentials: an operator's, at a store that asks for keys.

    Raises:
        PathError: it does not answer in time.
    """
    streams: list[StreamBook] = []
    names: dict[int, str] = {}
    async with _asking(address, seconds, credentials) as ask:
        while True:
            page = await ask(AskBooks(len(streams)), Books)
            streams += page.streams
            names |= page.names
            if len(streams) >= page.total or not page.streams:
                return StoreBooks(address.name, tuple(streams), page.refused, names, page.offences)


async def read_clients(address: StoreAddress, seconds: float, credentials: Credentials | None = None) -> StoreClients:
    """All pages of who is there at a store. See :func:`read_books`.

    Raises:
        PathError: it does not answer in time.
    """
    clients: list[ClientEntry] = []
    async with _asking(address, seconds, credentials) as ask:
        while True:
            page = await ask(AskWho(len(clients)), Who)
            clients += page.clients
            if len(clients) >= page.total or not page.clients:
                return StoreClients(address.name, tuple(clients), page.is_guarded)


@asynccontextmanager
async def _asking(address: StoreAddress, seconds: float, credentials: Credentials | None) -> AsyncIterator[Ask]:
    pages: asyncio.Queue[Books | Who] = asyncio.Queue()

    def receive(burst: list[bytes]) -> None:
        for data in burst:
            try:
                said = from_store(data)
            except WireError:
                continue  # a newer store may say more than we know
            if isinstance(said, Books | Who):
                pages.put_nowait(said)

    async def ask(question: AskBooks | AskWho, kind: type[P]) -> P:
        while True:
            port.send(encode(question))
            try:
                async with asyncio.timeout(RETRY_SECONDS):
                    while True:
                        page = await pages.get()
                        if isinstance(page, kind) and page.offset == question.offset:
                            return page
            except TimeoutError:
                continue

    keys = options_of(credentials)
    port = dealer(receive, keys)
    try:
        port.connect(address.control)
        async with asyncio.timeout(seconds):
            yield ask
    except TimeoutError:
        hint = "is it running?" if credentials is None else f"is it running, and does it accept {credentials.name}?"
        raise PathError(address.control, f"{address.name} has not answered in {seconds:g} s; {hint}") from None
    finally:
        port.close()
