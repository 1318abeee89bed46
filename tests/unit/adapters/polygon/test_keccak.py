"""The hash: against hashlib, from which it differs in one byte of padding, and known digests."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.keccak import keccak256


@given(st.binary(max_size=400))
def test_with_the_padding_of_sha3_it_is_hashlibs(data: bytes) -> None:
    assert keccak256(data, suffix=0x06) == hashlib.sha3_256(data).digest()


@pytest.mark.parametrize("length", [135, 136, 137, 271, 272])
def test_block_edges(length: int) -> None:
    assert keccak256(bytes(length), suffix=0x06) == hashlib.sha3_256(bytes(length)).digest()


def test_known_digests() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"transfer(address,uint256)")[:4].hex() == "a9059cbb"
