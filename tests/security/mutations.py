"""What a rogue may say to each port of a broker: what is valid, changed a little or a lot; the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import msgspec

from mycelium.core.delivery import control, sharing
from mycelium.core.delivery.control import FromClient, encode
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.envelope import HEADER_BYTES, Envelope, encode_frame, source_id

NAMES = ("feeder", "trader", "clearing", "ledger", "nobody")
READERS = ("reader", "trader.on_tick", "clearing.on_order", "feeder", "", "a\0b", "é" * 65)
TOPICS = ("orders.x", "ticks.x", "orders.y", "audit.x", "_sys.tick.trader", "_sys.probe.1", "_sys.dead.trader.on_tick")
PATTERNS = (*TOPICS, "orders.*", "ticks.*", ">", "orders.>", "*", "Orders", "a..b", "")
TYPE_IDS = (100, 200, 300, 0, 1, 65_281, 65_535)
NUMBERS = (-1, 0, 1, 2, 64, (1 << 31) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

Generator = Callable[[random.Random], bytes]


def publications(rng: random.Random) -> bytes:
    """For the port of the publishers."""
    if rng.random() < 0.05:
        return _anything(rng)
    topic = rng.choice(TOPICS)
    if rng.random() < 0.1:
        topic = ".".join(rng.choice(("orders", "x", "a_b", "0", "-")) for _ in range(rng.randint(1, 6)))
    payload = rng.choice((b"\x91\x92\xa1x\x01", b"", rng.randbytes(rng.randint(0, 200))))
    frame = encode_frame(
        Envelope(
            topic,
            rng.choice((200, 200, *TYPE_IDS[:2], *TYPE_IDS[4:])),
            rng.choice((1, 1, 1, 2, 65_535)),
            source_id(rng.choice(("trader", "trader", *NAMES))),
            rng.choice((7, 8, rng.getrandbits(64))),
            rng.choice((1, 1, 2, rng.getrandbits(64) or 1)),
            rng.getrandbits(64),
            payload,
            *(rng.randbytes(8) if rng.random() < 0.1 else None for _ in range(4)),
        )
    )
    return _changed(rng, frame, with_checksum=rng.random() < 0.5) if rng.random() < 0.7 else frame


def subscriptions(rng: random.Random) -> bytes:
    """For the port of the readers."""
    if rng.random() < 0.1:
        return _anything(rng)[:256]
    topic = rng.choice((*TOPICS, "orders", f"_sys.probe.{rng.getrandbits(16):x}")).encode()
    prefix = topic[: rng.randint(0, len(topic))] if rng.random() < 0.5 else topic + b"\0"
    first = rng.choice((b"\1", b"\1", b"\1", b"\0", b"\2"))
    return first + (_changed(rng, prefix) if rng.random() < 0.3 else prefix)


def requests(rng: random.Random) -> bytes:
    """For the port on which is asked."""
    if rng.random() < 0.1:
        return _anything(rng)
    said = encode(_said(rng))
    return _changed(rng, said) if rng.random() < 0.5 else said


def inputs(generator: Generator, seed: int, number: int) -> Iterator[bytes]:
    """So many, always the same for a seed."""
    rng = random.Random(seed)
    return (generator(rng) for _ in range(number))


def with_right_sums(frame: bytes) -> bytes:
    """The frame with the length and the checksum that its body has, so that what is behind these checks is reached."""
    body_at = frame.find(b"\0") + 1 + HEADER_BYTES
    if not HEADER_BYTES < body_at <= len(frame):
        return frame
    body = frame[body_at:]
    return frame[: body_at - 8] + len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body


def _changed(rng: random.Random, data: bytes, *, with_checksum: bool = False) -> bytes:
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(made))
        match rng.randrange(5):
            case 0:
                made[at : at + 1] = rng.randbytes(1)
            case 1:
                made[at : at + rng.randint(1, 4)] = b""
            case 2:
                made[at:at] = rng.randbytes(rng.randint(1, 4))
            case 3:
                made = made[:at]
            case _:
                if at < len(made):
                    made[at] ^= 1 << rng.randrange(8)
    return with_right_sums(bytes(made)) if with_checksum else bytes(made)


def _anything(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return rng.randbytes(rng.choice((0, 1, 2, 40, 300)))
    return msgspec.msgpack.encode(_value(rng, 3))


def _value(rng: random.Random, depth: int) -> Any:
    match rng.randrange(7 if depth else 5):
        case 0:
            return None
        case 1:
            return rng.choice(NUMBERS)
        case 2:
            return rng.random()
        case 3:
            return rng.choice((*READERS, "alive", "join", "fetch", "report", "askbooks"))
        case 4:
            return rng.randbytes(3)
        case 5:
            return [_value(rng, depth - 1) for _ in range(rng.randint(0, 4))]
        case _:
            return {str(number): _value(rng, depth - 1) for number in range(rng.randint(0, 2))}


def _said(rng: random.Random) -> FromClient:
    one = rng.choice

    def number() -> int:
        return one((1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 64, *NUMBERS))

    def reader() -> str:
        return one((*READERS, f"reader {rng.randint(1, 3_000)}"))

    def key() -> StreamKey:
        return StreamKey(source_id(one(NAMES)), one((7, 8, number())), one(TOPICS))

    def account() -> Account:
        return Account(number(), number(), number(), {reader(): number() for _ in range(rng.randint(0, 2))})

    def patterns() -> tuple[str, ...]:
        return tuple(one(("orders.*", *PATTERNS)) for _ in range(rng.randint(0, 3)))

    def tenures() -> tuple[sharing.Tenure, ...]:
        return tuple(sharing.Tenure(key(), number(), account()) for _ in range(rng.randint(0, 2)))

    made: tuple[Callable[[], FromClient], ...] = (
        lambda: control.Alive(tuple(one(NAMES) for _ in range(rng.randint(0, 2))), (number(),)),
        lambda: control.Announce(key(), number(), number()),
        lambda: control.Probe(number()),
        lambda: control.Join(
            number(), reader(), one((200, *TYPE_IDS)), patterns(), one(list(Start)), number(),
            one((True, False)), one((True, False)), number(),
        ),
        lambda: control.Fetch(number(), key(), number(), number()),
        lambda: control.AskMarks(number(), number(), one((200, *TYPE_IDS)), patterns()),
        lambda: control.Report(
            number(), reader(), number(), one((True, False)),
            tuple(control.Row(key(), account()) for _ in range(rng.randint(0, 2))),
        ),
        lambda: control.Leave(number(), reader()),
        control.AskReaders,
        lambda: control.AskBooks(number()),
        lambda: control.AskWho(number()),
        lambda: sharing.Progress(number(), number(), tenures()),
        lambda: sharing.Released(number(), tenures()),
    )  # fmt: skip
    return one(made)()
