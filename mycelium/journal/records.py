"""How values look in the store. Each is sealed, so that it can be told from rubbish wherever it is found.

A seal is ``magic 3s, kind 1s, length u32, body, crc32 u32`` (little-endian); the CRC-32 is of all that
stands before it. A body says everything about itself, also its key and the transaction that wrote it:
what is salvaged from a damaged store is found by its magic in the raw file, without the trees that
lead to it, and of several versions the one written last is taken.

====  =========  ======================================================================================
kind  body
====  =========  ======================================================================================
r     record     position, arrived, transaction u64; stream u32, count u32; sequence u64; the frame
s     stream     number u32; source, epoch, transaction, last sequence, last position u64; the topic
a     account    transaction u64; stream number u32, length of the reader's name u8; the name; the account
m     state      version u32, next stream number u32; store id, transaction, last position, last arrival u64
====  =========  ======================================================================================

The index of streams is not sealed but has a CRC: it can be made anew from the records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal.protocol import Record

FORMAT_VERSION = 1

# Not ASCII, so that no topic or msgpack text holds it.
MAGIC = b"\xd7MJ"
KINDS = b"rsam"

_SEAL = struct.Struct("<3scI")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<3scIQQQIIQ")
_STREAM = struct.Struct("<IQQQQQ")
_ACCOUNT = struct.Struct("<QIB")
_STATE = struct.Struct("<IIQQQQ")
_INDEX = struct.Struct("<QQQI")
_INDEX_KEY = struct.Struct(">IQ")

SEAL_BYTES = _SEAL.size + _CRC.size
RECORD_BYTES = _RECORD.size + _CRC.size
"""What a record takes beside its frame."""

_RECORD_HEAD = _RECORD.size - _SEAL.size

# LMDB compares keys as bytes: big-endian numbers keep their order.
POSITION_KEY: struct.Struct = struct.Struct(">Q")
NUMBER_KEY: struct.Struct = struct.Struct(">I")

KNOWN = 0
"""The number of no stream: under it a reader has the account that says that it is known."""


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """A record with all that the store knows of it."""

    position: int
    arrived_ns: int
    transaction: int
    stream: int
    count: int
    sequence: int
    frame: bytes

    @property
    def record(self) -> Record:
        """What a reader gets."""
        return Record(self.position, self.arrived_ns, self.frame)


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A stream's name and, for when no frame of it is kept, how far it came."""

    number: int
    key: StreamKey
    transaction: int
    last_sequence: int
    last_position: int


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What a reader left for a stream; for stream 0, which there is not, that the reader is known."""

    reader: str
    stream: int
    transaction: int
    account: bytes


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the store remembers of itself."""

    version: int
    next_number: int
    store_id: int
    transaction: int
    last_position: int
    last_arrived_ns: int


class IndexEntry(msgspec.Struct, frozen=True, gc=False):
    """Where a frame of a stream stands. ``bytes_upto`` is the running total of the stream's frames."""

    position: int
    arrived_ns: int
    bytes_upto: int
    count: int


class BadValueError(ValueError):
    """A value is not what was written. The message says how."""


def pack_record(
    position: int, arrived_ns: int, transaction: int, stream: int, count: int, sequence: int, frame: bytes
) -> bytes:
    """A sealed record."""
    head = _RECORD.pack(
        MAGIC, b"r", _RECORD_HEAD + len(frame), position, arrived_ns, transaction, stream, count, sequence
    )
    return b"".join((head, frame, _CRC.pack(crc32(frame, crc32(head)))))


def unpack_record(value: memoryview | bytes) -> StoredRecord:
    """The record in a sealed value, copied out of it.

    Raises:
        BadValueError: it is damaged.
    """
    end = len(value) - _CRC.size
    if end < _RECORD.size:
        raise BadValueError(f"{len(value)} bytes, a record has at least {RECORD_BYTES}")
    magic, kind, length, position, arrived_ns, transaction, stream, count, sequence = _RECORD.unpack_from(value)
    if magic != MAGIC or kind != b"r" or length != end - _SEAL.size:
        raise BadValueError(f"starts with {bytes(value[:8]).hex()}, which is no record of {len(value)} bytes")
    _check_crc(value, end)
    frame = bytes(value[_RECORD.size : end])
    return StoredRecord(position, arrived_ns, transaction, stream, count, sequence, frame)


def pack_stream(stream: StoredStream) -> bytes:
    """A sealed stream."""
    source, epoch, topic = stream.key
    head = _STREAM.pack(stream.number, source, epoch, stream.transaction, stream.last_sequence, stream.last_position)
    return _seal(b"s", head + topic.encode())


def unpack_stream(value: memoryview | bytes) -> StoredStream:
    """The stream in a sealed value.

    Raises:
        BadValueError: it is damaged.
    """
    body = _open(value, b"s", _STREAM.size)
    number, source, epoch, transaction, last_sequence, last_position = _STREAM.unpack_from(body)
    key = StreamKey(source, epoch, _text(body[_STREAM.size :]))
    return StoredStream(number, key, transaction, last_sequence, last_position)


def pack_account(stored: StoredAccount) -> bytes:
    """A sealed account."""
    name = stored.reader.encode()
    return _seal(b"a", _ACCOUNT.pack(stored.transaction, stored.stream, len(name)) + name + stored.account)


def unpack_account(value: memoryview | bytes) -> StoredAccount:
    """The account in a sealed value.

    Raises:
        BadValueError: it is damaged.
    """
    body = _open(value, b"a", _ACCOUNT.size)
    transaction, stream, length = _ACCOUNT.unpack_from(body)
    end = _ACCOUNT.size + length
    return StoredAccount(_text(body[_ACCOUNT.size : end]), stream, transaction, body[end:])


def account_key(reader: str, stream: int = KNOWN) -> bytes:
    """Where the store has what a reader left for a stream, by its number. The 0 ends the name: no name has one."""
    return reader.encode() + b"\0" + NUMBER_KEY.pack(stream)


def pack_state(state: StoredState) -> bytes:
    """A sealed state."""
    return _seal(
        b"m",
        _STATE.pack(
            state.version,
            state.next_number,
            state.store_id,
            state.transaction,
            state.last_position,
            state.last_arrived_ns,
        ),
    )


def unpack_state(value: memoryview | bytes) -> StoredState:
    """The state in a sealed value. Its version is the caller's to check.

    Raises:
        BadValueError: it is damaged.
    """
    return StoredState(*_STATE.unpack_from(_open(value, b"m", _STATE.size)))


def index_key(stream: int, sequence: int) -> bytes:
    """Where the index has the frame of a stream that starts at ``sequence``."""
    return _INDEX_KEY.pack(stream, sequence)


def unpack_index_key(key: memoryview | bytes) -> tuple[int, int]:
    """Stream and sequence of a key.

    Raises:
        BadValueError: it is damaged.
    """
    if len(key) != _INDEX_KEY.size:
        raise BadValueError(f"key of {len(key)} bytes, expected {_INDEX_KEY.size}")
    stream, sequence = _INDEX_KEY.unpack(key)
    return stream, sequence


def pack_index(key: bytes, position: int, arrived_ns: int, bytes_upto: int, count: int) -> bytes:
    """An index entry, bound to its key by the CRC."""
    body = _INDEX.pack(position, arrived_ns, bytes_upto, count)
    return body + _CRC.pack(crc32(body, crc32(key)))


def unpack_index(key: memoryview | bytes, value: memoryview | bytes) -> IndexEntry:
    """An index entry.

    Raises:
        BadValueError: it is damaged, or belongs to another key.
    """
    if len(value) != _INDEX.size + _CRC.size:
        raise BadValueError(f"index entry of {len(value)} bytes, expected {_INDEX.size + _CRC.size}")
    found = crc32(value[: _INDEX.size], crc32(key))
    if found != _CRC.unpack_from(value, _INDEX.size)[0]:
        raise BadValueError(f"index entry with crc32 {found:#010x}, which is not the one stored beside it")
    return IndexEntry(*_INDEX.unpack_from(value))


def sealed_values(data: memoryview, find: Iterator[int]) -> Iterator[tuple[int, bytes, memoryview]]:
    """The whole values in raw bytes.

    Args:
        data: the bytes.
        find: where the magic stands, in rising order.

    Yields:
        Offset, kind, and the sealed value.
    """
    beyond = 0
    for offset in find:
        if offset < beyond or offset + _SEAL.size > len(data):
            continue  # inside a value that was read: a message that quotes a journal
        _, kind, length = _SEAL.unpack_from(data, offset)
        end = offset + _SEAL.size + length
        if kind not in KINDS or end + _CRC.size > len(data):
            continue
        if crc32(data[offset:end]) == _CRC.unpack_from(data, end)[0]:
            beyond = end + _CRC.size
            yield offset, kind, data[offset:beyond]


def _seal(kind: bytes, body: bytes) -> bytes:
    sealed = _SEAL.pack(MAGIC, kind, len(body)) + body
    return sealed + _CRC.pack(crc32(sealed))


def _open(value: memoryview | bytes, kind: bytes, least: int) -> bytes:
    end = len(value) - _CRC.size
    if end < _SEAL.size + least:
        raise BadValueError(f"{len(value)} bytes, expected at least {SEAL_BYTES + least}")
    magic, found, length = _SEAL.unpack_from(value)
    if magic != MAGIC or found != kind or length != end - _SEAL.size:
        raise BadValueError(f"starts with {bytes(value[:8]).hex()}, which is no value of kind {kind.decode()}")
    _check_crc(value, end)
    return bytes(value[_SEAL.size : end])


def _check_crc(value: memoryview | bytes, end: int) -> None:
    found, expected = crc32(value[:end]), _CRC.unpack_from(value, end)[0]
    if found != expected:
        raise BadValueError(f"crc32 {found:#010x}, stored beside it is {expected:#010x}")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadValueError(f"name is not UTF-8: {error}") from None
