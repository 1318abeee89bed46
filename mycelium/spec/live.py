"""Holds a running system to the spec: who is there, what they read, what they have published, what they were refused.

A function from what the stores say to problems; asking them is done elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mycelium.core.access import Access, Entry
from mycelium.core.delivery.control import ClientEntry, Offence, ReaderEntry
from mycelium.core.errors import Problem
from mycelium.core.topics import Pattern
from mycelium.spec.access import access_of, entries_of
from mycelium.spec.model import SystemSpec
from mycelium.transport.books import StoreBooks, StoreClients

UNNAMED = "somebody without a name"

_NAME = re.compile(r"[a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class StoreView:
    """What one store says.

    Args:
        clients: who is there.
        books: what it has.
        absent: services that have nothing to do with it: those whose own store it is.
    """

    clients: StoreClients
    books: StoreBooks
    absent: frozenset[str] = frozenset()


def check_live(spec: SystemSpec, placed: Iterable[str], stores: Iterable[StoreView]) -> list[Problem]:
    """What of a running system differs from ``system.yaml``.

    Args:
        spec: what it should be.
        placed: the services that should run.
        stores: what its stores say.

    Returns:
        A problem for each service that is missing, each reader that is missing or does not belong, each publisher that
        does not belong, and each thing that somebody with a key was refused. The file of a problem is the store.
    """
    access, names = access_of(spec), tuple(placed)
    found: list[Problem] = []
    for store in stores:
        found += _check_clients(spec, access, names, store)
        found += _check_streams(spec, access, store.books)
        found += _check_offences(store.books)
    return found


def _check_clients(spec: SystemSpec, access: Access, placed: tuple[str, ...], store: StoreView) -> Iterator[Problem]:
    where = store.clients.store
    read: dict[str, list[ReaderEntry]] = {name: [] for name in placed if name not in store.absent}
    for client in store.clients.clients:
        for name in _names_of(client):
            if name in read:
                continue
            if name in spec.operators and store.clients.is_guarded:
                continue
            if name not in store.absent:
                yield Problem(where, name, "is there and publishes or reads; no such service is placed")
        for reader in client.readers:
            owner = _owner(client, reader, store.clients.is_guarded)
            if not access.may_join(owner, reader.type_id, map(Pattern.parse, reader.patterns)):
                what = f"{_contract(spec, reader.type_id)} on {reader.patterns[0]}"
                yield Problem(where, owner, f"reads {what} as {reader.name!r}; {_declared(access, spec, owner)}")
            elif owner in read:
                read[owner].append(reader)
    there = {name for client in store.clients.clients for name in _names_of(client)}
    topics = {entry.type_id: entry.pattern for entry in entries_of(spec).values()}
    for name, readers in read.items():
        if name not in there:
            yield Problem(where, name, "is not there; a bundle has it")
            continue
        for entry in access.rights(name).subscribes:
            if not any(_reads(reader, entry, topics[entry.type_id]) for reader in readers):
                what = f"{_contract(spec, entry.type_id)} on {entry.pattern.text}"
                yield Problem(where, name, f"does not read {what}, as system.yaml says")


def _names_of(client: ClientEntry) -> tuple[str, ...]:
    """Whose client it is: what it has shown by its key, or says of itself where there are none."""
    return (client.user,) if client.user else client.names


def _owner(client: ClientEntry, reader: ReaderEntry, is_guarded: bool) -> str:  # noqa: FBT001 - private
    if is_guarded:
        return client.user
    named = reader.name.replace(":", ".").partition(".")[0]
    return named if named in client.names else UNNAMED


def _reads(reader: ReaderEntry, entry: Entry, topics: Pattern) -> bool:
    """Whether it reads all of an entry: every pattern of it lets that through, or all of the contract's topics."""
    return reader.type_id == entry.type_id and all(
        pattern.covers(entry.pattern) or pattern.covers(topics) for pattern in map(Pattern.parse, reader.patterns)
    )


def _check_streams(spec: SystemSpec, access: Access, books: StoreBooks) -> Iterator[Problem]:
    said: set[tuple[str, int, str]] = set()
    for book in books.streams:
        name = books.names.get(book.stream.source, f"source {book.stream.source:016x}")
        key = (name, book.type_id, book.stream.topic)
        # Of a stream that is no longer kept nobody knows the contract.
        if book.type_id == 0 or key in said or access.may_publish(*key):
            continue
        said.add(key)
        what = f"{_contract(spec, book.type_id)} on {book.stream.topic}"
        yield Problem(books.store, name, f"has published {what}; it may not, or not there, by system.yaml", book.last)


def strangers(stores: Iterable[StoreView]) -> list[Problem]:
    """Who has tried to come in and did not get in: they change nothing of the wiring, and somebody should know."""
    return [
        problem
        for store in stores
        for problem in _refusals(store.books, [one for one in store.books.offences if _is_stranger(one)])
    ]


def _check_offences(books: StoreBooks) -> Iterator[Problem]:
    yield from _refusals(books, [one for one in books.offences if not _is_stranger(one)])


def _is_stranger(offence: Offence) -> bool:
    """Whether it is about an address: whoever has shown a key has a name."""
    return _NAME.fullmatch(offence.who) is None


def _refusals(books: StoreBooks, offences: Iterable[Offence]) -> Iterator[Problem]:
    for offence in offences:
        what = f": {offence.what}" if offence.what else ""
        times = "once" if offence.count == 1 else f"{offence.count:,} times"
        yield Problem(books.store, offence.who, f"was refused {times}: {offence.cause}{what}")


def _contract(spec: SystemSpec, type_id: int) -> str:
    names: Mapping[int, str] = {entry.type_id: name for name, entry in entries_of(spec).items()}
    return names.get(type_id, f"type id {type_id}")


def _declared(access: Access, spec: SystemSpec, name: str) -> str:
    entries = access.rights(name).subscribes
    if not entries:
        return "system.yaml lets it read nothing"
    declared = (f"{_contract(spec, entry.type_id)} on {entry.pattern.text}" for entry in entries)
    return f"system.yaml lets it read {', '.join(declared)}"
