"""The hash is Ethereum's and not the standard's."""

from __future__ import annotations

import hashlib

from adapters.polygon.keccak import keccak256


def test_known_digests() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"transfer(address,uint256)")[:4].hex() == "a9059cbb"


def test_it_is_not_the_standards_sha3() -> None:
    assert keccak256(b"") != hashlib.sha3_256(b"").digest()
