"""Sealed values: what was written, or an error; found in any bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal.records import (
    MAGIC,
    BadValueError,
    StoredAccount,
    StoredState,
    StoredStream,
    index_key,
    pack_account,
    pack_index,
    pack_record,
    pack_state,
    pack_stream,
    sealed_values,
    unpack_account,
    unpack_index,
    unpack_index_key,
    unpack_record,
    unpack_state,
    unpack_stream,
)

TOP = (1 << 64) - 1
STREAM = StoredStream(3, StreamKey(TOP, 5, "market.quickswap.wmatic"), 6, 7, 8)
VALUES: list[tuple[bytes, Callable[[bytes], Any]]] = [
    (pack_record(TOP, 2, 3, 4, 5, TOP, b"frame"), unpack_record),
    (pack_record(1, 2, 3, 4, 5, 6, b""), unpack_record),
    (pack_stream(STREAM), unpack_stream),
    (pack_account(StoredAccount("lecteur-é", TOP >> 32, 3, b"account")), unpack_account),
    (pack_state(StoredState(1, 2, 3, 4, 5, 6)), unpack_state),
    (pack_index(index_key(1, 2), 3, 4, 5, 6), lambda value: unpack_index(index_key(1, 2), value)),
]
each_value = pytest.mark.parametrize(("value", "unpack"), VALUES)


def test_values_come_back() -> None:
    record = unpack_record(pack_record(1, 2, 3, 4, 5, 6, b"frame"))
    assert (record.position, record.arrived_ns, record.transaction, record.stream) == (1, 2, 3, 4)
    assert (record.count, record.sequence, record.frame) == (5, 6, b"frame")
    assert unpack_stream(pack_stream(STREAM)) == STREAM
    for account in (StoredAccount("é" * 64, 3, 4, bytes(1_024)), StoredAccount("a", 0, 4, b"")):
        assert unpack_account(pack_account(account)) == account
    assert unpack_state(pack_state(StoredState(1, 2, 3, 4, 5, 6))) == StoredState(1, 2, 3, 4, 5, 6)
    assert unpack_index_key(index_key(9, TOP)) == (9, TOP)


@each_value
def test_no_flipped_bit_passes(value: bytes, unpack: Callable[[bytes], Any]) -> None:
    for offset in range(len(value)):
        for bit in range(8):
            damaged = bytearray(value)
            damaged[offset] ^= 1 << bit
            with pytest.raises(BadValueError):
                unpack(bytes(damaged))


@each_value
def test_no_other_length_passes(value: bytes, unpack: Callable[[bytes], Any]) -> None:
    for length in range(len(value)):
        with pytest.raises(BadValueError):
            unpack(value[:length])
    with pytest.raises(BadValueError):
        unpack(value + b"x")


def test_an_index_entry_belongs_to_its_key() -> None:
    with pytest.raises(BadValueError, match="index entry"):
        unpack_index(index_key(1, 3), pack_index(index_key(1, 2), 3, 4, 5, 6))
    with pytest.raises(BadValueError, match="key of 3 bytes"):
        unpack_index_key(b"abc")


def places(data: bytes) -> Iterator[int]:
    return (at for at in range(len(data)) if data.startswith(MAGIC, at))


def test_values_are_found_in_rubbish() -> None:
    inner = pack_account(StoredAccount("quoted", 1, 2, b"x"))
    outer = pack_record(1, 2, 3, 4, 5, 6, b"..." + inner + b"...")
    broken = bytearray(outer)
    broken[20] ^= 1
    data = MAGIC + b"r" + bytes(3) + outer + MAGIC + bytes(broken) + inner[:-1] + b"\0" + inner + MAGIC
    found = [(kind, bytes(value)) for _, kind, value in sealed_values(memoryview(data), places(data))]
    # What a record quotes is not read, unless the record itself is broken.
    assert found == [(b"r", outer), (b"a", inner), (b"a", inner)]
