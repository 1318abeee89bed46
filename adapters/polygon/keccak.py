"""Keccak-256, the hash of Ethereum: selectors, event topics, addresses.

It is the Keccak that won the SHA-3 competition, with another padding than the standard has: ``hashlib.sha3_256``
gives other digests.
"""

from __future__ import annotations

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """The 32-byte digest of ``data``."""
    return keccak.new(digest_bits=256, data=data).digest()
