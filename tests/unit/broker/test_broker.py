"""The port where publishers send: what is refused there, counted and said once, and that everyone else is served."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from zlib import crc32

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.broker.broker import Broker
from mycelium.core.delivery.control import Alive, Announce, Confirm, Fetch, Fetched, GoBack, Here, Introduce, Refuse
from mycelium.core.envelope import HEADER_BYTES, TLV_PAYLOAD, Envelope, encode_frame
from mycelium.core.errors import PathError
from mycelium.core.policy import Delivery
from mycelium.journal import Journal, MemoryJournal
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.sockets import Port
from tests.unit.transport.stores import (
    SECONDS,
    TYPE_ID,
    Asker,
    RawConnection,
    address,
    asking,
    frame,
    listening,
    logged,
    stream,
    until,
)

LIVE = 7
KEY = stream()


@contextlib.asynccontextmanager
async def open_broker(
    journal: Journal | None = None,
    *,
    contracts: Mapping[int, Delivery] | None = None,
    time_ns: Callable[[], int] = time.time_ns,
) -> AsyncIterator[Broker]:
    kept = journal or MemoryJournal()
    broker = Broker(address(publish=True), kept, time_ns, contracts=contracts)
    broker.open()
    try:
        yield broker
    finally:
        await broker.aclose()
        kept.close()


class Sender:
    """Publishes any bytes to a broker, and hears what it says to publishers."""

    def __init__(self, at: StoreAddress) -> None:
        assert at.publish is not None
        self._connected = asyncio.Event()
        self._port = Port(zmq.XPUB, lambda _burst: self._connected.set(), options={zmq.XPUB_NODROP: 1})
        self._port.connect(at.publish)
        self.control = Asker(at)

    async def open(self, *names: str) -> None:
        self.control.say(Alive(names))
        await self.control.answer(Here)
        async with asyncio.timeout(SECONDS):
            await self._connected.wait()

    def publish(self, *frames: bytes) -> None:
        for data in frames:
            assert self._port.send(data)

    def close(self) -> None:
        self._port.close()
        self.control.close()


@contextlib.asynccontextmanager
async def sending(broker: Broker, *names: str) -> AsyncIterator[Sender]:
    sender = Sender(broker.store.address)
    try:
        await sender.open(*names)
        yield sender
    finally:
        sender.close()


async def is_served(broker: Broker, name: str = "good") -> None:
    """Another publisher publishes, it is confirmed, and a reader gets it."""
    key = stream(source=name, epoch=time.time_ns())
    async with sending(broker, name) as sender:
        with asking(broker.store.address) as (reader,), listening(broker.store.address.frames) as (listener,):
            await listener.subscribed(broker.store, b"test.a\0")
            sender.publish(frame(of=key).data)
            assert (await sender.control.answer(Confirm)).marks == ((key, 1),)
            assert await listener.hear(b"test.a") == frame(of=key).data
            reader.say(Fetch(1, key, 1, 1))
            assert (await reader.answer(Fetched)).frames == (frame(of=key).data,)


def _changed(offset: int, form: str, value: int) -> bytes:
    """A good frame with another value in its header."""
    data = bytearray(frame().data)
    struct.pack_into(form, data, len(KEY.topic) + 1 + offset, value)
    return bytes(data)


def _with_body(body: bytes) -> bytes:
    """A good header before any body."""
    data = bytearray(frame().data[: len(KEY.topic) + 1 + HEADER_BYTES])
    struct.pack_into("<II", data, len(data) - 8, len(body), crc32(body))
    return bytes(data) + body


_PAYLOAD = struct.pack("<HI", TLV_PAYLOAD, 1) + b"\x90"

BAD: dict[str, bytes] = {
    "magic": _changed(0, "<H", 0),
    "version": _changed(2, "<B", 2),
    "flags": _changed(3, "<B", 1),
    "no message": _changed(6, "<H", 0),
    "sequence 0": _changed(24, "<Q", 0),
    "body of 2 GB": _changed(40, "<I", 2 << 30),
    "crc": _changed(44, "<I", 1),
    "cut": frame().data[:-1],
    "longer than it says": frame().data + b"x",
    "no header": b"test.a\0",
    "no zero byte": b"test.a",
    "nothing": b"",
    "no topic": b"\0" + frame().data.partition(b"\0")[2],
    "unknown critical TLV": _with_body(_PAYLOAD + struct.pack("<HI", 0x8000 | 99, 0)),
    "TLV of 2 GB": _with_body(_PAYLOAD + struct.pack("<HI", 99, 2 << 30)),
    "no payload": _with_body(struct.pack("<HI", 99, 0)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
async def test_a_bad_frame_is_counted_said_once_and_dropped(data: bytes) -> None:
    async with open_broker() as broker, sending(broker, "writer") as sender:
        with logged() as entries:
            sender.publish(*[data] * 30)
            await until(lambda: broker.refused.counts.get("frame refused") == 30)
            await is_served(broker)
        lines = [line for line in entries if line["log_level"] in ("warning", "error")]
        assert [line["event"] for line in lines] == ["frame refused"]
        assert broker.accepted == 1
        assert [extent.stream.source for extent in broker.store.journal.streams()] != [KEY.source]


async def test_a_type_that_is_not_in_the_system_is_refused_by_name() -> None:
    async with open_broker(contracts={TYPE_ID: Delivery.RELIABLE}) as broker, sending(broker, "writer") as sender:
        with logged() as entries:
            sender.publish(*[frame(n, count=2, type_id=99).data for n in (1, 3, 5)])
            for n in (1, 3, 5):
                assert await sender.control.answer(Refuse) == Refuse(KEY, n, 2, "unknown type id")
            await is_served(broker)
        assert broker.refused.counts == {"unknown type id": 6}
        (line,) = [line for line in entries if line["log_level"] == "warning"]
        assert (line["event"], line["peer"], line["type_id"]) == ("unknown type id", "writer", 99)


async def test_a_live_frame_is_passed_on_and_not_kept() -> None:
    contracts = {TYPE_ID: Delivery.RELIABLE, LIVE: Delivery.LIVE}
    async with open_broker(contracts=contracts) as broker, sending(broker, "writer") as sender:
        with listening(broker.store.address.frames) as (listener,):
            await listener.subscribed(broker.store, b"test.a\0")
            sender.publish(frame(5, type_id=LIVE).data)
            assert await listener.hear(b"test.a") == frame(5, type_id=LIVE).data
        assert (broker.passed_on, broker.accepted) == (1, 0)
        assert broker.store.journal.streams() == []


async def test_a_sequence_that_jumps_is_not_kept() -> None:
    """Back: a repeat is confirmed again, half a repeat refused. Ahead: what lies between is asked for."""
    async with open_broker() as broker, sending(broker, "writer") as sender:
        sender.publish(frame(1, count=5).data)
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 5),)
        sender.publish(frame(2, count=3).data)
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 5),)
        assert broker.duplicates == 3
        sender.publish(frame(4, count=4).data)
        assert await sender.control.answer(Refuse) == Refuse(KEY, 4, 4, "overlap")
        sender.publish(frame(9).data)
        assert await sender.control.answer(GoBack) == GoBack(KEY, 6)
        unknown = stream("test.other")
        sender.publish(frame(7, of=unknown).data)
        assert await sender.control.answer(Introduce) == Introduce(unknown)
        older = KEY._replace(epoch=0)
        sender.publish(frame(1, of=older).data)
        assert await sender.control.answer(Refuse) == Refuse(older, 1, 1, "stale epoch")
        await is_served(broker)
        assert broker.accepted == 6
        extent = broker.store.journal.extent(KEY)
        assert extent is not None
        assert (extent.first, extent.last) == (1, 5)


async def test_a_stream_goes_on_from_where_its_publisher_can_begin() -> None:
    async with open_broker() as broker, sending(broker, "writer") as sender:
        sender.control.say(Announce(KEY, 1, 7))
        await until(lambda: broker._admission._bases == {KEY: 7})
        sender.publish(frame(7).data)
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 7),)


def test_whatever_is_published() -> None:
    runner = asyncio.Runner()
    opened = open_broker(contracts={TYPE_ID: Delivery.RELIABLE, LIVE: Delivery.LIVE})

    async def enter() -> tuple[Broker, Sender]:
        broker = await opened.__aenter__()
        sender = Sender(broker.store.address)
        await sender.open("writer")
        return broker, sender

    async def leave() -> None:
        sender.close()
        await opened.__aexit__(None, None, None)

    broker, sender = runner.run(enter())
    numbers = st.sampled_from([0, 1, 2, 3, 1 << 31, 1 << 63, (1 << 64) - 1]) | st.integers(0, (1 << 64) - 1)
    envelopes = st.builds(
        Envelope,
        st.sampled_from(["test.a", "test.b", "_sys.tick", "_sys.probe.1"]),
        st.sampled_from([TYPE_ID, LIVE, 99, 60_000]),
        st.integers(1, 65_535),
        numbers,
        numbers,
        numbers.filter(bool),
        numbers,
        st.binary(max_size=30),
    )

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(real))
        at = draw(st.integers(0, len(data) - 1))
        data[at] ^= draw(st.integers(1, 255))
        return bytes(data)

    real = envelopes.filter(lambda e: e.sequence + e.count < 1 << 64).map(encode_frame)
    frames = st.lists(real | changed() | st.binary(max_size=120), max_size=20)

    @settings(max_examples=80)
    @given(frames)
    def publish(words: list[bytes]) -> None:
        async def run() -> None:
            sender.publish(*words)
            await is_served(broker)

        with logged() as entries:
            runner.run(run())
        assert not [line for line in entries if line["log_level"] == "error"], "a fault of ours"

    publish()
    assert broker.refused.counts["frame refused"] > 50
    runner.run(leave())
    runner.close()


async def test_any_bytes_on_the_tcp_ports() -> None:
    dice = random.Random(4)
    async with open_broker() as broker:
        at = broker.store.address
        assert at.publish is not None
        for endpoint in (at.frames, at.control, at.publish):
            for data in (b"", b"GET / HTTP/1.1\r\n\r\n", *(dice.randbytes(dice.randrange(1, 300)) for _ in range(10))):
                raw = await asyncio.to_thread(RawConnection, endpoint)
                raw.say(data)
                raw.close()
        kinds = {at.frames: b"SUB", at.control: b"DEALER", at.publish: b"PUB"}
        for endpoint, kind in kinds.items():
            raw = await asyncio.to_thread(RawConnection, endpoint, kind)
            raw.say(b"\x02" + (2 << 30).to_bytes(8, "big"))
            assert await asyncio.to_thread(raw.hangs_up), "it would wait for 2 GB"
            raw.close()
        await is_served(broker)


async def test_a_broker_needs_an_endpoint_for_publishers() -> None:
    with pytest.raises(PathError, match="a broker needs an endpoint for publishers"):
        Broker(address(), MemoryJournal(), time.time_ns)
