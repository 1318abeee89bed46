"""Block headers as a node says them, and what a header's bloom filter says of its logs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from adapters.polygon.keccak import keccak256
from adapters.polygon.logs import Log, MalformedLog, parse_bytes, parse_quantity

BLOOM_BYTES = 256

_HASH_BYTES = 32


class Header(msgspec.Struct, frozen=True, gc=False):
    """What the follower needs of a block's header.

    Args:
        number: the block's.
        hash: 32 bytes.
        parent: hash of the block before.
        timestamp: in seconds since 1970.
        bloom: the filter over addresses and topics of all logs in the block; empty if the node did not say.
    """

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    bloom: bytes = b""

    def may_have(self, addresses: Iterable[bytes]) -> bool:
        """Whether the block may have a log of one of these contracts. Without a bloom filter, it may."""
        return not self.bloom or any(in_bloom(self.bloom, address) for address in addresses)


def parse_header(obj: Any) -> Header:
    """The header in a JSON-RPC block object (Ethereum execution API, schema ``Block``).

    Args:
        obj: the decoded JSON; anything is accepted and checked.

    Raises:
        MalformedLog: a field is missing or has another form. A pending block (``hash`` null) is one such.
    """
    if not isinstance(obj, dict):
        raise MalformedLog(f"expected a block, found {type(obj).__name__}")
    bloom = obj.get("logsBloom")
    return Header(
        number=parse_quantity("number", obj.get("number")),
        hash=parse_bytes("hash", obj.get("hash"), _HASH_BYTES),
        parent=parse_bytes("parentHash", obj.get("parentHash"), _HASH_BYTES),
        timestamp=parse_quantity("timestamp", obj.get("timestamp")),
        bloom=b"" if bloom is None else parse_bytes("logsBloom", bloom, BLOOM_BYTES),
    )


def in_bloom(bloom: bytes, item: bytes) -> bool:
    """Whether ``item``, an address or a topic, may be in a bloom filter; False is certain.

    Three bits of 2048: of the first three pairs of bytes of the item's Keccak-256 the low 11 bits each, counted from
    the filter's last bit (Ethereum yellow paper, 4.3.1).
    """
    return all(bloom[place] >> shift & 1 for place, shift in _bits_of(item))


def chance_of(bloom: bytes, items: int) -> float:
    """How likely it is that a filter says "maybe" of at least one of so many items that are not in it.

    Each item has three bits, which are taken as independent: ``1 - (1 - p³)ⁿ`` with ``p`` of the bits set.
    """
    set_bits = int.from_bytes(bloom, "big").bit_count() / (8 * BLOOM_BYTES)
    return 1.0 - (1.0 - set_bits**3) ** items


def bloom_of(logs: Iterable[Log]) -> bytes:
    """The filter of a block with these logs: over the address and all topics of each."""
    bloom = bytearray(BLOOM_BYTES)
    for log in logs:
        for item in (bytes(log.address), *log.topics):
            for place, shift in _bits_of(item):
                bloom[place] |= 1 << shift
    return bytes(bloom)


@lru_cache(maxsize=1 << 16)
def _bits_of(item: bytes) -> tuple[tuple[int, int], ...]:
    """Where in a filter the three bits of an item are: byte and shift. The items are the same for every block."""
    digest = keccak256(item)
    bits = [int.from_bytes(digest[pair : pair + 2], "big") & 0x7FF for pair in (0, 2, 4)]
    return tuple((BLOOM_BYTES - 1 - bit // 8, bit % 8) for bit in bits)
