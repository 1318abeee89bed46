"""Answers the clients of a store: where a reader begins, what it has missed, how far it is.

What it holds beside the journal is soft: who is there, which readers have joined. A store that starts anew learns
it again from what its clients repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mycelium.core.delivery.control import (
    Alive,
    AskBooks,
    AskMarks,
    AskReaders,
    AskWho,
    Books,
    ClientEntry,
    Fetch,
    FromClient,
    FromStore,
    Here,
    Join,
    Joined,
    Leave,
    Marks,
    Offence,
    ReaderEntry,
    Readers,
    Report,
    Reported,
    Row,
    StreamBook,
    Taken,
    Unknown,
    Who,
)
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.groups import MemberId
from mycelium.core.delivery.sharing import Progress, Released
from mycelium.core.envelope import source_id
from mycelium.core.errors import AccessError, WireError
from mycelium.core.ledger import Tally
from mycelium.journal import Extent, Journal
from mycelium.transport.groups import Groups
from mycelium.transport.guard import FOREIGN_NAME, name_of, own_name
from mycelium.transport.holdings import Holdings
from mycelium.transport.limits import DEFAULT_LIMITS, Limits
from mycelium.transport.sockets import ANONYMOUS

MAX_READERS = 2_000
MAX_CLIENT_NAMES = 256
"""Per client. Chosen by us: far above what a process needs, far below what could exhaust the store."""

PAGE = 500
"""Streams in one page of the books; clients in one page of who is there, and readers at some."""

MAX_OFFENCES = 1_000
"""Refusals that are told apart. Beyond, they are counted together."""

MAX_WHATS = 20
"""Things that one was refused for one cause and that are told apart. Beyond, they are counted together, for it."""

OTHERS = "others"

SILENT_NS = 10_000_000_000
"""A client that has said nothing for so long is gone: ten of its signs of life are missing."""

_NOTHING: dict[str, int] = {}
"""What most readers have dropped."""

Answer = tuple[bytes, FromStore]
"""To whom, and what."""


@dataclass(slots=True)
class _Reader:
    name: str
    durable: bool
    type_id: int = 0
    patterns: tuple[str, ...] = ()
    begins: dict[StreamKey, int] = field(default_factory=dict)
    """The last message that was not for it, of the streams that were there when it joined."""
    accounts: dict[StreamKey, Account] = field(default_factory=dict)
    is_member: bool = False
    """Of a group, which has its account."""


@dataclass(slots=True)
class _Client:
    heard_ns: int
    user: str
    names: tuple[str, ...] = ()
    readers: dict[int, _Reader] = field(default_factory=dict)


class Clerk:
    """Answers for one store.

    Args:
        journal: what is kept.
        instance: of the store, ns since the Unix epoch at its start.
        time_ns: the time.
        names: service instances that are known to publish here.
        limits: what one client may ask for.
    """

    def __init__(
        self,
        journal: Journal,
        instance: int,
        time_ns: Callable[[], int],
        names: Collection[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._journal = journal
        self._instance = instance
        self._time_ns = time_ns
        self._clients: dict[bytes, _Client] = {}
        self._durable: dict[str, tuple[bytes, int]] = {}
        self.names: dict[int, str] = {source_id(name): name for name in names}
        """Of the sources."""
        self.new_names: dict[int, str] = {}
        """Those that have come since the last tick."""
        self.sources: dict[int, bytes] = {}
        """Which client publishes what."""
        self.refused: Tally = Tally()
        """What was refused, by cause."""
        self._offences: Counter[tuple[str, str, str]] = Counter()
        self._whats: Counter[tuple[str, str]] = Counter()
        self._limits = limits
        self.holdings: Holdings = Holdings(journal, self.refused)
        self.groups: Groups = Groups(self.holdings, instance, time_ns)

    def refuse(self, who: str, cause: str, what: str = "", number: int = 1) -> None:
        """Count a refusal.

        Args:
            who: whom it is due to: a service, an operator, or an address; empty if nobody knows.
            cause: which rule was broken.
            what: what was said or asked.
            number: how many messages.
        """
        self.refused.add(cause, number)
        if not who:
            return
        offence = (who, cause, what)
        # One who does many things has its own count of them, and leaves room for others.
        if what and offence not in self._offences:
            if self._whats[who, cause] < MAX_WHATS:
                self._whats[who, cause] += 1
            else:
                offence = (who, cause, "")
        if offence not in self._offences and len(self._offences) >= MAX_OFFENCES:
            offence = (who if (who, cause, "") in self._offences else OTHERS, cause, "")
        self._offences[offence] += number

    def offences(self) -> tuple[Offence, ...]:
        """What was refused to whom since the start."""
        return tuple(Offence(*offence, count) for offence, count in sorted(self._offences.items()))

    # --- who is there ------------------------------------------------------------------------

    def heard(self, peer: bytes, user: str = ANONYMOUS) -> None:
        """A client has said something.

        Raises:
            AccessError: another one has this identity, or its service has too many clients.
        """
        client = self._clients.get(peer)
        if client is None:
            if user and self._number_of(user) >= self._limits.connections_each:
                raise AccessError("too many clients", f"{self._limits.connections_each} are there")
            client = self._clients[peer] = _Client(0, user)
        elif name_of(client.user) != name_of(user):
            raise AccessError(FOREIGN_NAME, "the identity of a client of another service")
        client.heard_ns, client.user = self._time_ns(), user

    def _number_of(self, user: str) -> int:
        return sum(1 for client in self._clients.values() if name_of(client.user) == name_of(user))

    def users(self) -> frozenset[str]:
        """Those who are there, at a store with keys."""
        return frozenset(client.user for client in self._clients.values())

    def gone(self, peer: bytes) -> None:
        """A client has gone."""
        client = self._clients.pop(peer, None)
        if client is None:
            return
        for name in client.names:
            if self.sources.get(source_id(name)) == peer:
                del self.sources[source_id(name)]
        for number, reader in client.readers.items():
            self.groups.leave(MemberId(peer, number))
            if reader.durable and self._durable.get(reader.name, (b"", 0))[0] == peer:
                del self._durable[reader.name]

    def silent(self) -> list[bytes]:
        """Clients that have said nothing for long."""
        oldest = self._time_ns() - SILENT_NS
        return [peer for peer, client in self._clients.items() if client.heard_ns < oldest]

    def know(self, names: Iterable[str]) -> None:
        """Service instances publish here."""
        for name in names:
            source = source_id(name)
            if source not in self.names:
                self.names[source] = self.new_names[source] = name

    # --- what clients ask --------------------------------------------------------------------

    def answer(self, peer: bytes, said: FromClient, user: str = ANONYMOUS) -> list[Answer]:
        """What to answer to whom.

        Raises:
            WireError: what the client says makes no sense.
            AccessError: it is more than the client may have.
        """
        self.heard(peer, user)
        match said:
            case Alive():
                return self._alive(peer, said)
            case Join():
                return self._join(peer, said)
            case Fetch():
                return [(peer, self.holdings.fetch(said))]
            case AskMarks():
                return [(peer, Marks(said.reader, said.serial, self.holdings.marks(said.type_id, said.patterns)))]
            case Report():
                return self._report(peer, said)
            case AskWho():
                return [(peer, self.who(said.offset))]
            case Leave():
                self._clients[peer].readers.pop(said.reader, None)
                self.groups.leave(MemberId(peer, said.reader))
                return []
            case Progress():
                self.groups.progress(MemberId(peer, said.reader), said)
                return []
            case Released():
                self.groups.released(MemberId(peer, said.reader), said)
                return []
            case AskReaders():
                return [(peer, Readers(self.readers()))]
            case AskBooks():
                return [(peer, self.books(said.offset))]
            case _:
                raise WireError(f"{type(said).__name__.lower()} is not for this store")

    def _alive(self, peer: bytes, said: Alive) -> list[Answer]:
        if len(said.names) > MAX_CLIENT_NAMES:
            raise WireError(f"{len(said.names)} names, at most {MAX_CLIENT_NAMES} are accepted")
        client = self._clients[peer]
        if client.names != said.names:
            client.names = said.names
            self.know(said.names)
        for name in said.names:
            self.sources[source_id(name)] = peer
        answers: list[Answer] = [(peer, Here(self._instance, self.names))]
        unknown = tuple(reader for reader in said.readers[:MAX_READERS] if reader not in client.readers)
        if unknown:
            answers.append((peer, Unknown(unknown)))
        return answers

    def _join(self, peer: bytes, said: Join) -> list[Answer]:
        client = self._clients[peer]
        is_known = said.reader in client.readers
        if not is_known and len(client.readers) >= MAX_READERS:
            raise WireError(f"reader {said.name!r}: a client has at most {MAX_READERS} readers")
        if client.user and (said.durable or said.group):
            self._check_number(name_of(client.user), said.name)
        if said.group:
            self.groups.join(MemberId(peer, said.reader), said)
            client.readers[said.reader] = _Reader(
                said.name, durable=False, type_id=said.type_id, patterns=said.patterns, is_member=True
            )
            return [(peer, Joined(said.reader, self._instance, (), (), self.names))]
        answers: list[Answer] = []
        stored: dict[StreamKey, Account] = {}
        returns = False
        if said.durable:
            holder = self._durable.get(said.name)
            if holder is not None and holder != (peer, said.reader):
                answers.append((holder[0], Taken(holder[1], said.name)))
            self._durable[said.name] = (peer, said.reader)
            returns = self.holdings.knows(said.name)
            stored = self.holdings.accounts(said.name)
        places = self.holdings.places(said, stored, returns=returns)
        if said.durable:
            # Where it begins is part of what a reader that comes back must find.
            begun = {
                found.stream: Account(found.begin - 1, found.begin - 1, 0, {})
                for found in places
                if found.stream not in stored
            }
            self.holdings.store(said.name, begun)
            stored |= begun
        begins = {self.holdings.known(found.stream): found.begin - 1 for found in places}
        client.readers[said.reader] = _Reader(
            said.name, said.durable, said.type_id, said.patterns, begins, dict(stored)
        )
        rows = tuple(Row(stream, account) for stream, account in stored.items())
        answers.append((peer, Joined(said.reader, self._instance, tuple(places), rows, self.names)))
        return answers

    def _check_number(self, service: str, reader: str) -> None:
        """What is durable stays in the journal when its reader has gone, so a service may not have it without end."""
        if self.holdings.knows(reader):
            return
        mine = sum(1 for name in self._journal.readers() if own_name(service, name) == name)
        if mine >= self._limits.readers_each:
            raise AccessError("too many readers", f"{service} has {mine} durable names and groups")

    def begun(self, stream: StreamKey, type_id: int) -> None:
        """A stream has begun, or goes on after a while."""
        self.holdings.note_type(stream, type_id)
        self.groups.begun(stream)

    def readers(self) -> tuple[str, ...]:
        """The names of the readers that are there."""
        return tuple(sorted({reader.name for client in self._clients.values() for reader in client.readers.values()}))

    def all_done(self) -> bool:
        """Whether every reader that is there is done with everything that it wants."""
        for client in self._clients.values():
            for reader in client.readers.values():
                if reader.is_member:
                    continue
                for extent in self.holdings.extents(reader.type_id, reader.patterns):
                    account = reader.accounts.get(extent.stream)
                    if extent.last > (reader.begins.get(extent.stream, 0) if account is None else account.cursor):
                        return False
        return self.groups.all_done()

    # --- the books ---------------------------------------------------------------------------

    def _report(self, peer: bytes, said: Report) -> list[Answer]:
        reader = self._clients[peer].readers.get(said.reader)
        if reader is None:
            return [(peer, Unknown((said.reader,)))]
        if reader.name != said.name:
            raise WireError(f"reader {said.reader} has joined as {reader.name!r}, and reports as {said.name!r}")
        if said.durable and self._durable.setdefault(said.name, (peer, said.reader)) != (peer, said.reader):
            return [(peer, Taken(said.reader, said.name))]
        rows = {row.stream: row.account for row in said.rows}
        if said.durable and not self.holdings.store(said.name, rows):
            return []  # it will say it again
        # There may be one for every stream and reader: what they have in common is held once.
        for stream, account in rows.items():
            if self.holdings.extent(stream) is None:
                continue  # nobody will ask for it
            kept = account if account.dropped else Account(account.joined, account.cursor, account.delivered, _NOTHING)
            reader.accounts[self.holdings.known(stream)] = kept
        return [(peer, Reported(said.reader, said.serial))]

    def books(self, offset: int) -> Books:
        """A page of the books, from the stream at ``offset`` on."""
        extents = self._journal.streams()
        page = extents[offset : offset + PAGE]
        readers: dict[str, dict[StreamKey, Account]] = {
            name: self.holdings.accounts(name) for name in self._journal.readers()
        }
        for client in self._clients.values():
            for reader in client.readers.values():
                readers.setdefault(reader.name, {}).update(reader.accounts)
        streams = tuple(
            StreamBook(
                extent.stream,
                self.holdings.type_of(extent.stream),
                extent.first,
                extent.last,
                {name: accounts[extent.stream] for name, accounts in readers.items() if extent.stream in accounts},
            )
            for extent in page
        )
        sources = Counter(book.stream.source for book in streams)
        names = {source: self.names[source] for source in sources if source in self.names}
        refused = dict(self.refused.counts)
        return Books(self._instance, offset, streams, len(extents), refused, names, self.offences())

    @property
    def clients(self) -> int:
        """How many are there."""
        return len(self._clients)

    def lags(self) -> dict[str, int]:
        """How many messages each durable reader or group is behind.

        One that is away is behind on the streams that it had, and on those that their publishers have begun since on
        the same topics. What is no longer kept does not count: nobody can catch up with it.
        """
        here: dict[str, Mapping[StreamKey, Account]] = {
            reader.name: reader.accounts
            for client in self._clients.values()
            for reader in client.readers.values()
            if reader.durable
        }
        here |= self.groups.accounts()
        extents = self._journal.streams()
        lags = {}
        for name in self._journal.readers():
            accounts = here.get(name)
            cursors = self.holdings.cursors(name) if accounts is None else _cursors(accounts)
            lags[name] = _lag(extents, cursors)
        return lags

    def who(self, offset: int) -> Who:
        """A page of those who are there, from the client at ``offset`` on."""
        clients = list(self._clients.values())
        page: list[ClientEntry] = []
        room = PAGE
        for client in clients[offset : offset + PAGE]:
            readers = tuple(
                ReaderEntry(reader.name, reader.type_id, reader.patterns) for reader in client.readers.values()
            )
            page.append(ClientEntry(name_of(client.user), client.names, readers))
            room -= len(readers)
            if room <= 0:
                break
        return Who(offset, tuple(page), len(clients), is_guarded=any(client.user for client in clients))


def _cursors(accounts: Mapping[StreamKey, Account]) -> dict[StreamKey, int]:
    return {stream: account.cursor for stream, account in accounts.items()}


def _lag(extents: Iterable[Extent], cursors: Mapping[StreamKey, int]) -> int:
    newest: dict[tuple[int, str], int] = {}
    for stream in cursors:
        place = (stream.source, stream.topic)
        newest[place] = max(newest.get(place, 0), stream.epoch)
    lag = 0
    for extent in extents:
        stream = extent.stream
        cursor = cursors.get(stream)
        if cursor is not None:
            lag += max(0, extent.last - max(cursor, extent.first - 1))
        elif stream.epoch > newest.get((stream.source, stream.topic), stream.epoch):
            lag += extent.last - extent.first + 1
    return lag
