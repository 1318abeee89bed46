"""The ports of a store: what is refused there, and that everyone else is served."""

from __future__ import annotations

import asyncio
import random

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.core.delivery.control import AskMarks, Fetch, Fetched, Join, Joined, Marks, Report, Row
from mycelium.core.delivery.frames import Account
from mycelium.core.delivery.joining import Start
from mycelium.core.topics import MAX_TOPIC_BYTES
from mycelium.journal import LmdbJournal
from mycelium.journal.disk import DATA
from mycelium.transport import audience
from mycelium.transport.limits import DEFAULT_LIMITS
from mycelium.transport.sockets import Port
from mycelium.transport.store import Store
from tests.unit.transport.stores import (
    TYPE_ID,
    RawConnection,
    asking,
    entry,
    frame,
    listening,
    logged,
    open_store,
    stream,
    until,
)

KEY = stream()
TOPIC = KEY.topic.encode()


async def _is_served(store: Store, sequence: int) -> None:
    """A reader that behaves gets what is published, and what it asks for."""
    with asking(store.address) as (asker,), listening(store.address.frames) as (listener,):
        await listener.subscribed(store, TOPIC + b"\0")
        kept = frame(sequence)
        store.keep((kept,), (TYPE_ID,))
        assert await listener.hear(TOPIC) == kept.data
        asker.say(Fetch(1, KEY, sequence, 1))
        assert (await asker.answer(Fetched)).frames == (kept.data,)


async def test_a_message_of_several_parts_is_refused() -> None:
    async with open_store() as store:
        heard: list[bytes] = []
        port = Port(zmq.REQ, heard.extend, options={zmq.REQ_RELAXED: 1})
        port.connect(store.address.control)
        with logged() as entries:
            for _ in range(20):
                port.send(b"request")  # a REQ puts an empty part before it
            await until(lambda: store.clerk.refused.counts.get("control message refused", 0) >= 1)
            await _is_served(store, 1)
        port.close()
        (line,) = [line for line in entries if line["event"] == "control message refused"]
        assert line["error"] == "at byte 0: a message of 2 parts, expected 1"


async def test_what_is_refused_is_said_once_for_each_peer() -> None:
    now = [0]
    async with open_store(time_ns=lambda: now[0]) as store:
        with asking(store.address, store.address) as (one, other), logged() as entries:
            for asker in (one, other):
                asker.say(*[b"rubbish"] * 50, AskMarks(1, 1, TYPE_ID, ()))
                await asker.answer(Marks)
            now[0] = 11_000_000_000
            one.say(b"rubbish", AskMarks(1, 2, TYPE_ID, ()))
            await one.answer(Marks)
        lines = [line for line in entries if line["event"] == "control message refused"]
        assert [line.get("and_before") for line in lines] == [None, None, 49]
        assert len({line["peer"] for line in lines}) == 2
        assert store.clerk.refused.counts == {"control message refused": 101}


async def test_who_asks_for_the_same_again_is_answered_and_refused_nothing() -> None:
    """A client repeats what it has no answer to; with a busy store more than it may ask for at once."""
    async with open_store() as store:
        store.keep((frame(1),), (TYPE_ID,))
        with asking(store.address) as (asker,):
            asker.say(*[Fetch(1, KEY, 1, 1)] * 50)
            asker.say(*[Fetch(reader, KEY, 1, 1) for reader in range(2, 12)])
            heard: set[int] = set()
            while heard != set(range(1, 12)):  # the first one once for each burst that it comes in
                heard.add((await asker.answer(Fetched)).reader)
        assert not store.clerk.refused.counts


async def test_more_repairs_than_one_may_ask_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store() as store:
        store.keep((frame(1),), (TYPE_ID,))
        monkeypatch.setattr(store, "_fetch_next", lambda: None)  # it has other things to do
        with asking(store.address) as (asker,):
            for first in range(0, 300, 30):
                asker.say(*[Fetch(reader, KEY, 1, 1) for reader in range(first, first + 30)])
            await until(lambda: sum(store.clerk.refused.counts.values()) == 300 - DEFAULT_LIMITS.repairs_each)
        assert set(store.clerk.refused.counts) == {"too many repair requests"}


async def test_subscriptions_are_counted_until_their_connection_breaks() -> None:
    async with open_store() as store:
        with listening(store.address.frames, 2) as (one, other):
            for listener in (one, other):
                for n in range(100):
                    listener.subscribe(b"test.%d\0" % n)
            await until(lambda: store.subscriptions == 200)
            one.say(b"\0test.7\0")
            await until(lambda: store.subscriptions == 199)
            one.close()
            await until(lambda: store.subscriptions == 100)
            store.keep((frame(),), (TYPE_ID,))
            other.subscribe(TOPIC)
            await until(lambda: store.subscriptions == 101)
        await until(lambda: store.subscriptions == 0)


async def test_more_subscriptions_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_SUBSCRIPTIONS", 50)
    async with open_store() as store:
        with listening(store.address.frames) as (flood,), logged() as entries:
            for n in range(1_000):
                flood.subscribe(b"flood.%d\0" % n)
            await until(lambda: store.clerk.refused.counts.get("subscription refused", 0) == 950)
            assert store.subscriptions == 50
            # It takes back what was refused, which gives it no more room than it has.
            for n in range(500, 1_000):
                flood.say(b"\0flood.%d\0" % n)
            for n in range(2):
                flood.say(b"\0flood.%d\0" % n)
            await until(lambda: store.subscriptions == 48)
            await _is_served(store, 1)
        await until(lambda: store.subscriptions == 0)
        await _is_served(store, 2)
        assert len([line for line in entries if line["event"] == "subscription refused"]) == 1


async def test_taking_back_what_was_never_asked_for_changes_nothing() -> None:
    async with open_store() as store:
        with listening(store.address.frames) as (listener,):
            listener.subscribe(TOPIC)
            raw = await asyncio.to_thread(RawConnection, store.address.frames, b"SUB")
            # No socket of libzmq says this, but anyone who speaks its protocol can.
            for data in (b"\0never", b"\0" + TOPIC, b"\0", b"\1end"):
                raw.message(data)
            await until(lambda: b"end" in store._audience)
            assert store.subscriptions == 2
            raw.close()
            await until(lambda: store.subscriptions == 1)
        await until(lambda: store.subscriptions == 0)


@pytest.mark.parametrize("size", [0, MAX_TOPIC_BYTES + 2, 3_000])
async def test_what_is_no_subscription_is_refused(size: int) -> None:
    async with open_store() as store:
        with listening(store.address.frames) as (listener,), logged() as entries:
            listener.say(b"\1" + bytes(size) if size else b"\2")
            await until(lambda: store.clerk.refused.counts == {"subscription refused": 1})
            await _is_served(store, 1)
        assert [line["error"] for line in entries if line["event"] == "subscription refused"] == [
            f"{size + 1} bytes are no subscription"
        ]


async def test_a_prefix_that_is_much_too_long_ends_its_connection() -> None:
    """Before libzmq has made a node of every byte of it."""
    async with open_store() as store:
        raw = await asyncio.to_thread(RawConnection, store.address.frames, b"SUB")
        raw.message(b"\1" + bytes(100_000))
        assert await asyncio.to_thread(raw.hangs_up)
        raw.close()
        await _is_served(store, 1)
        await until(lambda: store.subscriptions == 0)


def test_whatever_is_said_to_the_port_of_frames() -> None:
    runner = asyncio.Runner()

    async def enter() -> Store:
        return await opened.__aenter__()

    opened = open_store()
    store = runner.run(enter())
    sequence = iter(range(1, 1_000_000))
    said = st.lists(st.binary(max_size=20) | st.binary(max_size=20).map(lambda b: b"\1" + b), max_size=30)

    @settings(max_examples=60)
    @given(said)
    def say(words: list[bytes]) -> None:
        async def run() -> None:
            with listening(store.address.frames) as (listener,):
                for word in words:
                    listener.say(word)
                await listener.subscribed(store, b"last")
                await _is_served(store, next(sequence))
                distinct = {word for word in words if word[:1] == b"\1"}
            # What one connection says twice is counted twice, and taken back once.
            more = sum(words.count(word) - 1 for word in distinct)
            await until(lambda: store.subscriptions <= before + more)

        before = store.subscriptions
        with logged() as entries:
            runner.run(run())
        assert not [line for line in entries if line["log_level"] == "error"]

    say()
    runner.run(opened.__aexit__(None, None, None))
    runner.close()


async def test_any_bytes_on_the_tcp_ports() -> None:
    dice = random.Random(3)
    huge = b"\x02" + (2 << 30).to_bytes(8, "big")
    async with open_store() as store:
        endpoints = (store.address.frames, store.address.control)
        said = [b"", b"GET / HTTP/1.1\r\n\r\n", *(dice.randbytes(dice.randrange(1, 300)) for _ in range(20))]
        for data in said:
            for endpoint in endpoints:
                raw = await asyncio.to_thread(RawConnection, endpoint)
                raw.say(data)
                raw.close()
        for endpoint, kind in zip(endpoints, (b"SUB", b"DEALER"), strict=True):
            raw = await asyncio.to_thread(RawConnection, endpoint, kind)
            raw.say(huge)
            assert await asyncio.to_thread(raw.hangs_up), "it would wait for 2 GB"
            raw.close()
        await _is_served(store, 1)


async def test_a_damaged_account_costs_its_reader_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = LmdbJournal(directory)
    journal.append([entry()])
    journal.store_accounts("broken", {KEY: b"an account that is none"})
    with (directory / DATA).open("r+b") as file:
        data = file.read()
        place = data.find(b"an account that")
        while place >= 0:
            file.seek(place)
            file.write(b"AN")
            place = data.find(b"an account that", place + 1)
    async with open_store(journal) as store:
        with asking(store.address) as (asker,):
            join = Join(1, "broken", TYPE_ID, ("test.*",), Start.EARLIEST, durable=True)
            asker.say(join, Join(2, "sound", TYPE_ID, ("test.*",), Start.EARLIEST, durable=True))
            assert (await asker.answer(Joined)).reader == 2
        assert store.clerk.refused.counts == {"the journal is damaged": 1}
        await _is_served(store, 2)


async def test_a_client_that_connects_again_is_the_same_one() -> None:
    """Its durable reader is not taken for another one of that name."""
    async with open_store() as store:
        store.keep((frame(),), (TYPE_ID,))
        with asking(store.address) as (asker,):
            asker.say(Join(1, "books", TYPE_ID, ("test.*",), Start.EARLIEST, durable=True))
            await asker.answer(Joined)
            peers = set(store.clerk._clients)
            # As after a cut: the socket has a new connection and says what it would say anyway.
            asker._port._socket.disconnect(store.address.control)
            asker._port.connect(store.address.control)
            asker.say(Report(1, "books", 7, True, (Row(KEY, Account(0, 1, 1, {})),)))
            heard = await asker.heard.get()
            assert type(heard).__name__ == "Reported"
            assert set(store.clerk._clients) == peers
