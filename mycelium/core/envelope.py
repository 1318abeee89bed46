"""The wire format: one frame is ``topic, 0x00, header, TLVs`` and carries messages of one stream.

Header, 48 bytes, little-endian:

===========  =====  ====================================================================
field        bytes
===========  =====  ====================================================================
magic        2      ``MY``
version      1      1
flags        1      no flag is defined in version 1; a set bit is refused
type_id      2      the contract of all messages in the frame
count        2      messages in the frame, at least 1
source       8      hash of the publishing service instance's name
epoch        8      the publisher's incarnation: ns at its start
sequence     8      of the first message, from 1; the others follow without holes
published    8      ns since the Unix epoch, of the first message
body length  4      of all TLVs
crc32        4      of all TLVs (zlib's CRC-32)
===========  =====  ====================================================================

A TLV is ``type u16, length u32, value``. The high bit of the type marks it as critical: an unknown
critical TLV is refused, another unknown one skipped. Every length is checked against what is there
before anything is taken from it.

Frames with a payload and nothing else, which nearly all are, are built and parsed by ``_codec.c`` where that was
compiled, with the same result; this file says what is wrong with a frame, and does everything where it was not.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol
from zlib import crc32

import msgspec

from mycelium.core.errors import ContractError, TopicError, WireError
from mycelium.core.topics import MAX_TOPIC_BYTES, check_topic

MAGIC = b"MY"
VERSION = 1
CRITICAL = 0x8000

TLV_PAYLOAD = 1
TLV_TRACEPARENT = 2
TLV_TRACESTATE = 3
TLV_FINGERPRINT = 4
TLV_CAUSATION = 5
TLV_MARKS = 6

# Chosen by us: far above any message of the trading system, far below what one peer could use to
# exhaust a reader. NATS has the same default.
DEFAULT_MAX_FRAME = 1 << 20

_HEADER = struct.Struct("<2sBBHHQQQQII")
_TLV = struct.Struct("<HI")
# Header and the payload's TLV head in one call: nearly every frame has nothing else in its body. Magic, version and
# flags are one number.
_HEADER_AND_PAYLOAD = struct.Struct("<IHHQQQQIIHI")
_pack, _unpack = _HEADER_AND_PAYLOAD.pack, _HEADER_AND_PAYLOAD.unpack_from
_HEAD = int.from_bytes(MAGIC + bytes((VERSION, 0)), "little")
HEADER_BYTES = _HEADER.size


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What one frame says. ``payload`` is the msgpack array of ``count`` messages.

    Args:
        topic: the stream's topic.
        type_id: the contract of all messages.
        count: how many messages, from 1.
        source: hash of the publisher's name, see :func:`source_id`.
        epoch: the publisher's incarnation, ns since the Unix epoch at its start.
        sequence: of the first message, from 1.
        published: ns since the Unix epoch, of the first message.
        payload: the messages' bytes.
        traceparent: W3C trace context, if there is one.
        tracestate: W3C trace state, if there is one.
        fingerprint: 8 bytes of the contract the publisher was built with.
        causation: id of the message whose handling published these.
        marks: traces and causes of single messages, see :mod:`mycelium.core.trace`.
    """

    topic: str
    type_id: int
    count: int
    source: int
    epoch: int
    sequence: int
    published: int
    payload: bytes
    traceparent: bytes | None = None
    tracestate: bytes | None = None
    fingerprint: bytes | None = None
    causation: bytes | None = None
    marks: bytes | None = None


def source_id(name: str) -> int:
    """The 8-byte source of a service instance's name (BLAKE2b, truncated), as an unsigned integer."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def encode_frame(envelope: Envelope, *, max_frame: int = DEFAULT_MAX_FRAME) -> bytes:
    """The frame's bytes.

    Args:
        envelope: what to send.
        max_frame: the largest frame to make, in bytes.

    Raises:
        ContractError: a value does not fit its field, or the frame would be larger than ``max_frame``.
    """
    payload, topic = envelope.payload, envelope.topic
    extras = _extra_tlvs(envelope)
    body_length = 6 + len(payload) + len(extras)
    frame_length = len(topic) + 1 + HEADER_BYTES + body_length
    if frame_length > max_frame:
        raise ContractError(
            f"a frame of {envelope.count} message(s) on {topic} would have {frame_length} bytes, "
            f"at most {max_frame} are accepted; make the messages smaller or raise max_frame on both sides"
        )
    checksum = crc32(payload, crc32(_TLV.pack(TLV_PAYLOAD, len(payload))))
    if extras:
        checksum = crc32(extras, checksum)
    try:
        header = _pack(
            _HEAD,
            envelope.type_id,
            envelope.count,
            envelope.source,
            envelope.epoch,
            envelope.sequence,
            envelope.published,
            body_length,
            checksum,
            TLV_PAYLOAD,
            len(payload),
        )
    except struct.error as error:
        raise ContractError(f"{topic}: {error} in {envelope!r}") from None
    return _topic_bytes(topic) + header + payload + extras


def _extra_tlvs(envelope: Envelope) -> bytes:
    if (
        envelope.fingerprint is None
        and envelope.traceparent is None
        and envelope.tracestate is None
        and envelope.causation is None
        and envelope.marks is None
    ):
        return b""
    pairs = (
        (TLV_TRACEPARENT, envelope.traceparent),
        (TLV_TRACESTATE, envelope.tracestate),
        (TLV_FINGERPRINT, envelope.fingerprint),
        (TLV_CAUSATION, envelope.causation),
        (TLV_MARKS, envelope.marks),
    )
    return b"".join(_TLV.pack(kind, len(value)) + value for kind, value in pairs if value is not None)


def _build_frame(
    topic: str, type_id: int, count: int, source: int, epoch: int, sequence: int, published: int, payload: bytes, /
) -> bytes:
    """The bytes of a frame that holds a payload and nothing else: :func:`encode_frame` of an :class:`Envelope`.

    Args:
        topic: the stream's topic.
        type_id: the contract of all messages.
        count: how many messages.
        source: hash of the publisher's name.
        epoch: the publisher's incarnation.
        sequence: of the first message.
        published: ns since the Unix epoch, of the first message.
        payload: the messages' bytes.

    Raises:
        ContractError: a value does not fit its field, or the frame would be larger than the default limit.
    """
    return encode_frame(Envelope(topic, type_id, count, source, epoch, sequence, published, payload))


def _decode_frame(frame: bytes, *, max_frame: int = DEFAULT_MAX_FRAME) -> Envelope:
    """What a frame from outside says.

    Args:
        frame: all its bytes.
        max_frame: the largest frame to accept, in bytes.

    Raises:
        WireError: the bytes break the format; nothing else is ever raised.
    """
    size = len(frame)
    start = frame.find(b"\0", 0, MAX_TOPIC_BYTES + 1) + 1
    body = start + HEADER_BYTES
    if size > max_frame or not start or size < body + _TLV.size:
        raise _no_header(frame, start, max_frame)
    head, type_id, count, source, epoch, sequence, published, body_length, checksum, kind, length = _unpack(
        frame, start
    )
    # One comparison for what is right in nearly every frame; what is wrong is found out afterwards.
    if head != _HEAD or not type_id or not count or not sequence or body_length != size - body:
        raise _bad_header(frame, start)
    body_bytes = frame[body:]
    if crc32(body_bytes) != checksum:
        raise WireError(f"crc32 {crc32(body_bytes):#010x} of the body, header says {checksum:#010x}", start + 44)
    topic = _topic_text(frame[: start - 1])
    if kind == TLV_PAYLOAD and length == body_length - 6:
        return Envelope(topic, type_id, count, source, epoch, sequence, published, body_bytes[6:])
    values = _read_tlvs(body_bytes, body)
    payload = values.get(TLV_PAYLOAD)
    if payload is None:
        raise WireError("no payload TLV", body)
    return Envelope(
        topic,
        type_id,
        count,
        source,
        epoch,
        sequence,
        published,
        payload,
        values.get(TLV_TRACEPARENT),
        values.get(TLV_TRACESTATE),
        values.get(TLV_FINGERPRINT),
        values.get(TLV_CAUSATION),
        values.get(TLV_MARKS),
    )


def _no_header(frame: bytes, start: int, max_frame: int) -> WireError:
    """Why a frame is too large, or too small for a header behind the topic that ends before ``start``."""
    if len(frame) > max_frame:
        return WireError(f"frame of {len(frame)} bytes, at most {max_frame} are accepted")
    if not start:
        return WireError(f"no topic terminator in the first {MAX_TOPIC_BYTES + 1} bytes")
    return WireError(
        f"{len(frame) - start} bytes after the topic, a header and a TLV take {HEADER_BYTES + _TLV.size}", start
    )


def _bad_header(frame: bytes, start: int) -> WireError:
    """What is wrong with the header at ``start``."""
    magic, version, flags, type_id, count, _, _, sequence, _, body_length, _ = _HEADER.unpack_from(frame, start)
    if magic != MAGIC:
        return WireError(f"magic {magic!r}, expected {MAGIC!r}", start)
    if version != VERSION:
        return WireError(f"version {version}, this side reads {VERSION}", start + 2)
    if flags:
        return WireError(f"flags {flags:#04x}, none is defined in version {VERSION}", start + 3)
    if not type_id or not count or not sequence:
        return WireError(f"type_id {type_id}, count {count}, sequence {sequence}: each must be at least 1", start + 4)
    follow = len(frame) - start - HEADER_BYTES
    return WireError(f"body length {body_length}, but {follow} bytes follow the header", start + 40)


_KNOWN = frozenset({TLV_PAYLOAD, TLV_TRACEPARENT, TLV_TRACESTATE, TLV_FINGERPRINT, TLV_CAUSATION, TLV_MARKS})


def _read_tlvs(body: bytes, offset: int) -> dict[int, bytes]:
    """The known TLVs of a body; ``offset`` is where it stands in the frame, for messages."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(body):
        if len(body) - position < _TLV.size:
            raise WireError(f"{len(body) - position} bytes left, a TLV's head takes {_TLV.size}", offset + position)
        kind, length = _TLV.unpack_from(body, position)
        value_at = position + _TLV.size
        if length > len(body) - value_at:
            raise WireError(f"TLV {kind} says {length} bytes, {len(body) - value_at} are left", offset + position)
        base = kind & ~CRITICAL
        if base in values:
            raise WireError(f"TLV {base} stands twice", offset + position)
        if base in _KNOWN:
            values[base] = body[value_at : value_at + length]
        elif kind & CRITICAL:
            raise WireError(f"TLV {base} is critical and not known here", offset + position)
        position = value_at + length
    return values


@lru_cache(maxsize=8192)
def _topic_bytes(topic: str) -> bytes:
    return check_topic(topic).encode() + b"\0"


@lru_cache(maxsize=8192)
def _topic_text(raw: bytes) -> str:
    try:
        return check_topic(raw.decode("ascii"))
    except (UnicodeDecodeError, TopicError) as error:
        raise WireError(f"topic: {error}") from None


class DecodeFrame(Protocol):
    """What :data:`decode_frame` is."""

    def __call__(self, frame: bytes, *, max_frame: int = DEFAULT_MAX_FRAME) -> Envelope:
        """What a frame from outside says."""
        ...


build_frame: Callable[[str, int, int, int, int, int, int, bytes], bytes] = _build_frame
decode_frame: DecodeFrame = _decode_frame
IS_COMPILED: bool = False
"""Whether both are compiled."""

try:
    from mycelium.core import _codec
except ImportError:
    pass  # there was no compiler when it was installed
else:
    IS_COMPILED = True
    _codec.configure(
        Envelope, _topic_text, _topic_bytes, _decode_frame, _build_frame, crc32, MAX_TOPIC_BYTES, DEFAULT_MAX_FRAME
    )
    build_frame, decode_frame = _codec.build_frame, _codec.decode_frame
