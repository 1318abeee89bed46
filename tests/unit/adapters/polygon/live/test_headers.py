"""Headers as nodes say them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.keccak import keccak256
from adapters.polygon.live.headers import BLOOM_BYTES, Header, in_bloom, parse_header
from adapters.polygon.logs import MalformedLog

BLOCK: dict[str, Any] = {
    "number": "0x10",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x65",
    "logsBloom": "0x" + "00" * BLOOM_BYTES,
}


def test_a_block_is_read() -> None:
    assert parse_header(BLOCK) == Header(16, b"\x11" * 32, b"\x22" * 32, 101, bytes(BLOOM_BYTES))


def test_without_a_filter_everything_may_be_there() -> None:
    header = parse_header({**BLOCK, "logsBloom": None})
    assert header.may_have([b"any"])
    assert not parse_header(BLOCK).may_have([b"any"])


@pytest.mark.parametrize("key", ["number", "hash", "parentHash", "timestamp"])
@pytest.mark.parametrize("value", [None, 1, "0x", "0xzz", "11" * 32, []])
def test_what_is_malformed_is_named(key: str, value: object) -> None:
    with pytest.raises(MalformedLog, match=key):
        parse_header({**BLOCK, key: value})


@pytest.mark.parametrize("obj", [None, [], "block", 1])
def test_what_is_no_block_is_refused(obj: object) -> None:
    with pytest.raises(MalformedLog, match="expected a block"):
        parse_header(obj)


@given(st.sets(st.binary(min_size=20, max_size=20), max_size=20), st.binary(min_size=20, max_size=20))
def test_a_filter_has_what_was_put_in(items: set[bytes], other: bytes) -> None:
    """The filter is built here as the yellow paper says, as one number of 2048 bits."""
    bits = 0
    for item in items:
        digest = keccak256(item)
        for pair in range(3):
            bits |= 1 << (int.from_bytes(digest[2 * pair : 2 * pair + 2], "big") % 2048)
    bloom = bits.to_bytes(BLOOM_BYTES, "big")
    assert all(in_bloom(bloom, item) for item in items)
    assert in_bloom(bloom, other) == all(
        bits >> (int.from_bytes(keccak256(other)[2 * pair : 2 * pair + 2], "big") % 2048) & 1 for pair in range(3)
    )
