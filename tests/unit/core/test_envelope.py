"""The wire format: golden bytes both ways, and rubbish that gives a WireError and nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core import envelope as module
from mycelium.core.envelope import (
    CRITICAL,
    HEADER_BYTES,
    Envelope,
    decode_frame,
    encode_frame,
    source_id,
)
from mycelium.core.errors import ContractError, WireError

GOLDEN = Path(__file__).parents[2] / "data" / "envelopes" / "golden.json"


def golden() -> list[tuple[str, Envelope, bytes]]:
    cases = []
    for name, case in json.loads(GOLDEN.read_text()).items():
        fields: dict[str, Any] = {
            key: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
            for key, value in case["envelope"].items()
        }
        cases.append((name, Envelope(**fields), bytes.fromhex(case["frame"])))
    return cases


CASES = golden()
each = pytest.mark.parametrize(("envelope", "frame"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


def test_there_are_golden_frames() -> None:
    assert [case[0] for case in CASES] == ["smallest", "two messages", "largest header values", "every tlv"]


@each
def test_golden_both_ways(envelope: Envelope, frame: bytes) -> None:
    assert encode_frame(envelope) == frame
    assert decode_frame(frame) == envelope


@each
def test_truncated_at_every_length(envelope: Envelope, frame: bytes) -> None:
    del envelope
    for length in range(len(frame)):
        with pytest.raises(WireError):
            decode_frame(frame[:length])


@each
def test_with_rubbish_behind(envelope: Envelope, frame: bytes) -> None:
    del envelope
    with pytest.raises(WireError, match="body length"):
        decode_frame(frame + b"\0")


@each
def test_with_every_byte_flipped(envelope: Envelope, frame: bytes) -> None:
    body_at = frame.index(b"\0") + 1 + HEADER_BYTES
    for position in range(len(frame)):
        for flip in (0x01, 0x80, 0xFF):
            broken = bytearray(frame)
            broken[position] ^= flip
            try:
                value = decode_frame(bytes(broken))
            except WireError:
                continue
            assert position < body_at, "a change in the body must not pass the checksum"
            assert value != envelope


envelopes = st.builds(
    Envelope,
    topic=st.from_regex(r"[a-z0-9_-]{1,9}(\.[a-z0-9_-]{1,9}){0,3}", fullmatch=True),
    type_id=st.integers(1, 0xFFFF),
    count=st.integers(1, 0xFFFF),
    source=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**64 - 1),
    sequence=st.integers(1, 2**64 - 1),
    published=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=300),
    traceparent=st.none() | st.binary(max_size=60),
    tracestate=st.none() | st.binary(max_size=60),
    fingerprint=st.none() | st.binary(min_size=8, max_size=8),
    causation=st.none() | st.binary(max_size=40),
)


@given(envelopes)
def test_round_trip(envelope: Envelope) -> None:
    assert decode_frame(encode_frame(envelope)) == envelope


@given(st.binary(max_size=400))
def test_any_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    for frame in (data, b"topic\0" + data, b"topic\0MY\x01\0" + data):
        try:
            decode_frame(frame)
        except WireError as error:
            assert 0 <= error.offset <= len(frame)


def frame_with(body: bytes, **changes: int | bytes) -> bytes:
    """A frame built by hand, so that the decoder is not tested against its own encoder."""
    values = {"magic": b"MY", "version": 1, "flags": 0, "type_id": 1, "count": 1, "sequence": 1, **changes}
    header = struct.pack(
        "<2sBBHHQQQQII",
        values["magic"],
        values["version"],
        values["flags"],
        values["type_id"],
        values["count"],
        2,
        3,
        values["sequence"],
        4,
        values.get("length", len(body)),
        crc32(body),
    )
    return b"a.b\0" + header + body


PAYLOAD = struct.pack("<HI", 1, 3) + b"\x91\x91\x05"


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (frame_with(PAYLOAD, magic=b"XX"), "magic b'XX', expected b'MY'"),
        (frame_with(PAYLOAD, version=2), "version 2, this side reads 1"),
        (frame_with(PAYLOAD, flags=4), "flags 0x04"),
        (frame_with(PAYLOAD, type_id=0), "type_id 0"),
        (frame_with(PAYLOAD, count=0), "count 0"),
        (frame_with(PAYLOAD, sequence=0), "sequence 0"),
        (frame_with(PAYLOAD, length=0xFFFFFFFF), "body length 4294967295"),
        (frame_with(PAYLOAD)[:-1] + b"\x06", "crc32"),
        (frame_with(PAYLOAD + PAYLOAD), "TLV 1 stands twice"),
        (frame_with(PAYLOAD + struct.pack("<HI", 99 | CRITICAL, 0)), "TLV 99 is critical"),
        (frame_with(PAYLOAD + b"\0\0\0"), "3 bytes left"),
        (frame_with(PAYLOAD + struct.pack("<HI", 2, 2**31)), "TLV 2 says 2147483648 bytes, 0 are left"),
        (frame_with(struct.pack("<HI", 99, 0)), "no payload TLV"),
        (b"A.b" + frame_with(PAYLOAD)[3:], "topic"),
        (b"\xffab" + frame_with(PAYLOAD)[3:], "topic"),
        (b"\0" + frame_with(PAYLOAD)[4:], "topic"),
        (b"a" * 256 + b"\0", "no topic terminator"),
    ],
)
def test_each_fault_is_named(frame: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode_frame(frame)


def test_an_unknown_tlv_is_skipped_and_a_known_critical_one_read() -> None:
    body = struct.pack("<HI", 1 | CRITICAL, 3) + b"\x91\x91\x05" + struct.pack("<HI", 99, 2) + b"xx"
    assert decode_frame(frame_with(body)).payload == b"\x91\x91\x05"


def test_a_frame_over_the_limit_is_refused_on_both_sides() -> None:
    envelope = Envelope("a", 1, 1, 0, 0, 1, 0, b"x" * 100)
    frame = encode_frame(envelope)
    with pytest.raises(ContractError, match=f"would have {len(frame)} bytes, at most 99 are accepted"):
        encode_frame(envelope, max_frame=99)
    with pytest.raises(WireError, match=f"frame of {len(frame)} bytes, at most 99"):
        decode_frame(frame, max_frame=99)


def test_a_value_that_does_not_fit_its_field_is_ours_to_mend() -> None:
    with pytest.raises(ContractError, match="a: "):
        encode_frame(Envelope("a", 1, 0x10000, 0, 0, 1, 0, b""))


def test_the_source_of_a_name_never_changes() -> None:
    assert source_id("polygon_adapter") == 0x8DC2EFC7C6BFD6F2


def test_header_size_is_the_documented_one() -> None:
    assert HEADER_BYTES == 48
    assert module.VERSION == 1
