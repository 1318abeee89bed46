"""What a store answers, asked directly: the corners that the conformance suite does not come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.delivery.control import (
    Alive,
    AskBooks,
    AskMarks,
    AskReaders,
    Books,
    Fetch,
    Fetched,
    FromClient,
    FromStore,
    Here,
    Join,
    Joined,
    Leave,
    Marks,
    Readers,
    Report,
    Reported,
    Row,
    Taken,
    Unknown,
)
from mycelium.core.delivery.frames import Account, StreamKey, Watermark
from mycelium.core.delivery.joining import Place, Start
from mycelium.core.delivery.reader import Deliver, Expired, ReaderState, Request
from mycelium.core.errors import WireError
from mycelium.journal import Journal, JournalFullError, LmdbJournal, MemoryJournal, Retention
from mycelium.journal.disk import DATA
from mycelium.transport import clerk as clerks
from mycelium.transport.clerk import SILENT_NS, Clerk
from tests.unit.transport.stores import TYPE_ID, entry, frame, stream

ONE, TWO = b"one", b"two"
KEY = stream()
INSTANCE = 1_000


class Desk:
    """A clerk, and the time."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.now = 0
        self.journal = journal or MemoryJournal()
        self.clerk = Clerk(self.journal, INSTANCE, lambda: self.now)

    def keep(self, *sequences: int, of: StreamKey = KEY) -> None:
        self.journal.append([entry(n, of=of) for n in sequences])
        self.clerk.begun(of, TYPE_ID)

    def ask(self, said: FromClient, peer: bytes = ONE) -> FromStore | None:
        """The only answer, which goes to whoever asked."""
        answers = self.clerk.answer(peer, said)
        assert [to for to, _ in answers] in ([], [peer])
        return answers[0][1] if answers else None


def join(name: str = "reader", *, reader: int = 1, start: Start = Start.EARLIEST, durable: bool = True) -> Join:
    return Join(reader, name, TYPE_ID, ("test.*",), start, durable=durable)


def report(cursor: int, *, reader: int = 1, serial: int = 5, durable: bool = True, name: str = "reader") -> Report:
    return Report(reader, name, serial, durable, (Row(KEY, Account(0, cursor, cursor, {})),))


def with_damage(directory: Path, *sequences: int, last: int) -> Desk:
    """A desk whose journal has messages up to ``last``, of which some are damaged on the disk while it is open."""
    journal = LmdbJournal(directory)
    journal.append([entry(n) for n in range(1, last + 1)])
    with (directory / DATA).open("r+b") as file:
        data = file.read()
        for sequence in sequences:
            what = frame(sequence).data
            assert what in data
            place = data.find(what)
            while place >= 0:
                file.seek(place + len(what) - 1)
                file.write(bytes([what[-1] ^ 1]))
                place = data.find(what, place + 1)
    return Desk(journal)


def read_all(desk: Desk, last: int) -> list[Deliver | Expired]:
    """What a reader makes of the stream."""
    state = ReaderState()
    todo = state.join([Place(KEY, 1, last, 1)])
    done: list[Deliver | Expired] = []
    while todo:
        action = todo.pop(0)
        if isinstance(action, Request):
            said = desk.ask(Fetch(1, KEY, action.sequence, action.credits))
            assert isinstance(said, Fetched)
            frames = [frame(n) for n in range(1, last + 1) if frame(n).data in said.frames]
            mark = Watermark(KEY, said.mark.first, said.mark.last)
            todo += state.answer(KEY, action.sequence, frames, mark)
        else:
            done.append(action)
    return done


@pytest.mark.parametrize("bad", [(2,), (1,), (4,), (2, 3), (1, 2, 3, 4)], ids=str)
def test_damaged_frames_are_passed_over_and_count_as_expired(tmp_path: Path, bad: tuple[int, ...]) -> None:
    desk = with_damage(tmp_path, *bad, last=4)
    done = read_all(desk, 4)
    gone = [n for action in done if isinstance(action, Expired) for n in range(action.first, action.last + 1)]
    got = [action.frame.sequence for action in done if isinstance(action, Deliver)]
    assert (gone, got) == (list(bad), [n for n in range(1, 5) if n not in bad])
    assert desk.clerk.refused.counts["frame damaged in the journal"] >= 1
    desk.journal.close()


def test_where_a_stream_begins_that_is_all_damage_is_still_known(tmp_path: Path) -> None:
    desk = with_damage(tmp_path, 1, last=1)
    joined = desk.ask(join())
    assert isinstance(joined, Joined)
    assert joined.places == (Place(KEY, 1, 1, 1),), "its type cannot be read; it is given to all who match"
    desk.journal.close()


def full(directory: Path) -> LmdbJournal:
    """A journal that has no room for accounts either."""
    journal = LmdbJournal(directory, max_bytes=1 << 20)
    journal.append([entry()])
    # The small ones stand before and behind that of "reader", so that the pages where it belongs are full.
    for name, size in (("other", 1_000), ("reader", 20), ("readeq", 20), ("reader", 0), ("readeq", 0)):
        for number in range(10_000):
            try:
                journal.store_accounts(f"{name}-{size}-{number}", {KEY: bytes(size)})
            except JournalFullError:
                break
    return journal


def test_accounts_that_cannot_be_stored_are_not_confirmed(tmp_path: Path) -> None:
    desk = Desk(full(tmp_path))
    joined = desk.ask(join())
    assert isinstance(joined, Joined)
    assert desk.ask(report(1)) is None
    assert desk.clerk.refused.counts["accounts not stored: the journal is full"] == 2
    desk.journal.close()
    # It says it again, and there is room.
    desk = Desk(LmdbJournal(tmp_path, max_bytes=8 << 20))
    desk.ask(join())
    assert desk.ask(report(1)) == Reported(1, 5)
    assert desk.clerk.holdings.accounts("reader") == {KEY: Account(0, 1, 1, {})}
    desk.journal.close()


def test_what_is_not_durable_needs_no_room(tmp_path: Path) -> None:
    desk = Desk(full(tmp_path))
    desk.ask(join(durable=False))
    assert desk.ask(report(1, durable=False)) == Reported(1, 5)
    desk.journal.close()


def test_an_account_that_is_too_long_is_refused() -> None:
    desk = Desk()
    desk.keep(1)
    desk.ask(join())
    long = Account(0, 1, 0, {"x" * 2_000: 1})
    with pytest.raises(WireError, match="at most 1024 are kept"):
        desk.ask(Report(1, "reader", 1, True, (Row(KEY, long),)))


def test_accounts_of_streams_that_are_not_kept_are_left_out() -> None:
    desk = Desk()
    desk.keep(1)
    desk.ask(join())
    other = Row(stream("test.gone"), Account(0, 1, 1, {}))
    assert desk.ask(Report(1, "reader", 1, True, (*report(1).rows, other))) == Reported(1, 1)
    assert list(desk.clerk.holdings.accounts("reader")) == [KEY]


def test_the_books_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerks, "PAGE", 4)
    desk = Desk()
    streams = [stream(f"test.{n}") for n in range(10)]
    for n, key in enumerate(streams):
        desk.keep(*range(1, n + 2), of=key)
    desk.ask(Alive(("writer",)))
    desk.ask(join())
    desk.ask(join("other", reader=2, durable=False, start=Start.NEW))
    desk.ask(Report(2, "other", 1, False, (Row(streams[9], Account(10, 10, 0, {})),)))
    pages = []
    offset = 0
    while offset < 10:
        page = desk.ask(AskBooks(offset))
        assert isinstance(page, Books)
        assert (page.instance, page.offset, page.total) == (INSTANCE, offset, 10)
        assert list(page.names.values()) == ["writer"]
        pages.append(page)
        offset += len(page.streams)
    assert [len(page.streams) for page in pages] == [4, 4, 2]
    books = [book for page in pages for book in page.streams]
    assert [(book.stream, book.type_id, book.first, book.last) for book in books] == [
        (key, TYPE_ID, 1, n + 1) for n, key in enumerate(streams)
    ]
    assert books[0].readers == {"reader": Account(0, 0, 0, {})}
    assert books[9].readers == {"reader": Account(0, 0, 0, {}), "other": Account(10, 10, 0, {})}
    beyond = desk.ask(AskBooks(10))
    assert isinstance(beyond, Books)
    assert beyond.streams == ()


def test_a_client_has_so_many_names_and_readers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerks, "MAX_CLIENT_NAMES", 2)
    monkeypatch.setattr(clerks, "MAX_READERS", 2)
    desk = Desk()
    assert isinstance(desk.ask(Alive(("a", "b"))), Here)
    with pytest.raises(WireError, match="3 names, at most 2"):
        desk.ask(Alive(("a", "b", "c")))
    assert set(desk.clerk.names.values()) == {"a", "b"}
    for reader in (1, 2, 1):
        assert isinstance(desk.ask(join(f"r{reader}", reader=reader)), Joined), "also when one says it again"
    with pytest.raises(WireError, match="at most 2 readers"):
        desk.ask(join("r3", reader=3))
    assert isinstance(desk.ask(join("r3", reader=3), TWO), Joined), "another client has its own"


def test_a_silent_client_is_gone_and_what_was_its_is_free() -> None:
    desk = Desk()
    desk.ask(Alive(("writer",)))
    desk.ask(join())
    desk.now = SILENT_NS
    desk.clerk.heard(TWO)
    assert desk.clerk.silent() == []
    desk.now += 1
    assert desk.clerk.silent() == [ONE]
    desk.clerk.gone(ONE)
    assert desk.clerk.sources == {}
    assert desk.clerk.readers() == ()
    # Nobody is told that the name is taken: nobody has it.
    assert isinstance(desk.ask(join(), TWO), Joined)
    desk.clerk.gone(b"never seen")


def test_a_source_that_has_moved_stays_where_it_is() -> None:
    desk = Desk()
    desk.ask(Alive(("writer",)))
    desk.ask(Alive(("writer",)), TWO)
    desk.clerk.gone(ONE)
    assert list(desk.clerk.sources.values()) == [TWO]


def test_the_newer_of_two_readers_of_one_name_has_it() -> None:
    desk = Desk()
    desk.keep(1, 2)
    desk.ask(join())
    answers = desk.clerk.answer(TWO, join())
    assert [(to, type(said)) for to, said in answers] == [(ONE, Taken), (TWO, Joined)]
    assert desk.ask(report(2)) == Taken(1, "reader")
    assert desk.clerk.holdings.accounts("reader") == {KEY: Account(0, 0, 0, {})}, "the older one changes nothing"
    assert desk.ask(report(1), TWO) == Reported(1, 5)
    assert isinstance(desk.ask(join(), TWO), Joined), "it may say again that it is there"


def test_a_reader_that_is_not_known_is_told_to_join_again() -> None:
    desk = Desk()
    desk.keep(1)
    assert desk.ask(report(1)) == Unknown((1,))
    desk.ask(join())
    answers = desk.clerk.answer(ONE, Alive((), (1, 2)))
    assert answers == [(ONE, Here(INSTANCE, {})), (ONE, Unknown((2,)))]
    assert desk.clerk.readers() == ("reader",)


def test_a_reader_that_leaves_is_not_waited_for() -> None:
    desk = Desk()
    desk.keep(1)
    desk.ask(join())
    assert not desk.clerk.all_done()
    assert desk.ask(Leave(1, "reader")) is None
    assert desk.clerk.all_done()
    assert desk.ask(AskReaders()) == Readers(())
    assert desk.ask(Leave(1, "reader")) is None, "saying it again is allowed"


def test_streams_of_another_contract_are_not_for_a_reader() -> None:
    desk = Desk()
    desk.keep(1)
    marks = [desk.ask(AskMarks(1, 7, type_id, ("test.*", "*.a"))) for type_id in (TYPE_ID, TYPE_ID + 1)]
    assert [len(said.marks) for said in marks if isinstance(said, Marks)] == [1, 0]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(WireError, match="a reader wants"):
        Desk().ask(AskMarks(1, 1, TYPE_ID, ("not..one",)))


def test_what_retention_has_taken_is_not_asked_for() -> None:
    desk = Desk(MemoryJournal(retention=Retention(max_age_ns=1)))
    desk.keep(1, 2)
    desk.journal.trim(100)
    fetched = desk.ask(Fetch(1, KEY, 1, 10))
    assert isinstance(fetched, Fetched)
    assert (fetched.frames, fetched.mark.first, fetched.mark.last) == ((), 3, 2)
    unknown = desk.ask(Fetch(1, stream("test.unknown"), 1, 10))
    assert isinstance(unknown, Fetched)
    assert (unknown.frames, unknown.mark.first, unknown.mark.last) == ((), 1, 0)


# --- offences ------------------------------------------------------------------------------------


def counted(clerk: Clerk, who: str, cause: str) -> int:
    return sum(one.count for one in clerk.offences() if (one.who, one.cause) == (who, cause))


def test_whoever_does_many_things_is_not_hidden_by_them_and_hides_nobody() -> None:
    clerk = Desk().clerk
    for number in range(5_000):
        clerk.refuse("rogue", "not its topic to publish", f"topic.{number}", 2)
    clerk.refuse("other", "not its topic to publish", "topic.1")
    assert counted(clerk, "rogue", "not its topic to publish") == 10_000
    assert counted(clerk, "other", "not its topic to publish") == 1
    assert len(clerk.offences()) < 100, "what it was is told apart for some"
    assert clerk.refused.counts == {"not its topic to publish": 10_001}


def test_whoever_has_many_addresses_takes_no_memory_without_end() -> None:
    clerk = Desk().clerk
    for number in range(5_000):
        clerk.refuse(f"2001:db8::{number:x}", "unknown key")
    assert len(clerk.offences()) <= clerks.MAX_OFFENCES + 1
    assert sum(one.count for one in clerk.offences()) == 5_000
    assert counted(clerk, clerks.OTHERS, "unknown key") == 5_000 - clerks.MAX_OFFENCES


def test_nobody_gets_the_blame_that_has_no_name() -> None:
    clerk = Desk().clerk
    clerk.refuse("", "frame refused")
    assert clerk.offences() == ()
    assert clerk.refused.counts == {"frame refused": 1}


def test_accounts_of_streams_that_are_not_there_are_not_held() -> None:
    desk = Desk()
    desk.keep(1, 2)
    desk.ask(join(durable=False))
    other = stream("test.other")
    rows = (Row(KEY, Account(0, 2, 2, {})), Row(other, Account(0, 1, 1, {})))
    assert desk.ask(Report(1, "reader", 5, durable=False, rows=rows)) == Reported(1, 5)
    assert desk.clerk._clients[ONE].readers[1].accounts == {KEY: Account(0, 2, 2, {})}


def test_a_durable_reader_is_behind_what_is_kept_and_not_what_is_gone() -> None:
    desk = Desk(MemoryJournal(retention=Retention(max_age_ns=100)))
    desk.keep(1, 2, 3, 4)
    desk.ask(join())
    assert desk.clerk.lags() == {"reader": 4}
    desk.ask(report(3))
    assert desk.clerk.lags() == {"reader": 1}
    desk.keep(5, 6)
    assert desk.clerk.lags() == {"reader": 3}
    desk.clerk.gone(ONE)
    assert desk.clerk.lags() == {"reader": 3}
    # It comes, gets on and goes between two questions.
    desk.ask(join())
    desk.ask(report(4))
    desk.clerk.gone(ONE)
    assert desk.clerk.lags() == {"reader": 2}
    desk.journal.trim(10**12, limit=5)
    assert desk.clerk.lags() == {"reader": 1}


def test_who_is_away_is_behind_on_what_the_same_publisher_has_begun_since() -> None:
    desk = Desk()
    desk.keep(1, 2)
    desk.ask(join())
    desk.ask(report(2))
    desk.clerk.gone(ONE)
    assert desk.clerk.lags() == {"reader": 0}
    desk.keep(1, 2, 3, of=stream(epoch=2))
    desk.keep(1, of=stream("other.a"))
    assert desk.clerk.lags() == {"reader": 3}


def test_who_is_not_durable_has_no_lag() -> None:
    desk = Desk()
    desk.keep(1)
    desk.ask(join(durable=False))
    assert desk.clerk.lags() == {}
