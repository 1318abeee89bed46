"""The compiled codec does what the one in Python does, whatever it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core import envelope as module
from mycelium.core.envelope import DEFAULT_MAX_FRAME, IS_COMPILED, Envelope, encode_frame
from mycelium.core.errors import ContractError, TopicError, WireError
from tests.unit.core.test_envelope import CASES

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="mycelium/core/_codec.c is not compiled, or not wanted")

U16, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1)


def outcome(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    try:
        return function(*args, **named)
    except (WireError, ContractError, TopicError, TypeError) as error:
        return type(error), str(error)


def check_parse(frame: Any, **named: Any) -> None:
    assert outcome(module.decode_frame, frame, **named) == outcome(module._decode_frame, frame, **named)


def check_build(*fields: Any) -> bytes | None:
    built = outcome(module.build_frame, *fields)
    assert built == outcome(module._build_frame, *fields)
    return built if isinstance(built, bytes) else None


@given(
    st.tuples(st.sampled_from(["a", "market.eth", "x" * 255]), U16, U16, U64, U64, U64, U64, st.binary(max_size=2_000))
)
def test_whatever_is_sent(fields: tuple[Any, ...]) -> None:
    frame = check_build(*fields)
    assert frame is not None
    check_parse(frame)
    check_parse(frame + b"\0")


@given(st.binary(max_size=200))
def test_whatever_comes(data: bytes) -> None:
    check_parse(data)
    check_parse(b"topic\0MY\1\0" + data)


@pytest.mark.parametrize("frame", [case[2] for case in CASES], ids=[case[0] for case in CASES])
def test_golden_frames_cut_and_changed(frame: bytes) -> None:
    check_parse(frame)
    for length in range(len(frame)):
        check_parse(frame[:length])
        for bit in (1, 0x80):
            check_parse(frame[:length] + bytes([frame[length] ^ bit]) + frame[length + 1 :])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "Market"),
        (0, ""),
        (0, "a..b"),
        (0, "x" * 256),
        (0, "ä"),
        (1, 2**16),
        (1, -1),
        (2, True),
        (3, 2**64),
        (6, 1.5),
    ],
)
def test_what_cannot_be_built(place: int, value: Any) -> None:
    fields: list[Any] = ["a.b", 1, 2, 3, 4, 5, 6, b"payload"]
    fields[place] = value
    check_build(*fields)


@pytest.mark.parametrize("size", [0, 1, 1_017, 1_018, 1_019, 100_000, DEFAULT_MAX_FRAME - 58, DEFAULT_MAX_FRAME - 57])
def test_sizes(size: int) -> None:
    """Around where the checksum is calculated by another function, and around the limit."""
    frame = check_build("a.b", 1, 1, 1, 1, 1, 1, b"\xa5" * size)
    assert (frame is None) == (size + 58 > DEFAULT_MAX_FRAME)
    if frame is not None:
        check_parse(frame)


def test_other_kinds_of_bytes_and_limits() -> None:
    frame = encode_frame(Envelope("a.b", 1, 1, 1, 1, 1, 1, b"payload"))
    check_parse(frame, max_frame=len(frame))
    check_parse(frame, max_frame=len(frame) - 1)
    check_parse(bytearray(frame))
    check_parse(None)
    check_build("a.b", 1)
