"""A log of an EVM chain, as a value, and its form in JSON-RPC.

The form is that of ``eth_getLogs`` and ``eth_subscribe("logs")`` (Ethereum execution API, schema ``Log``), with the
``blockTimestamp`` that newer nodes add.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from contracts.values import Address
from mycelium.core.errors import MyceliumError

MAX_TOPICS = 4
"""LOG4 is the EVM's largest log instruction."""

MAX_QUANTITY = 2**63 - 1
"""Block numbers, indexes and timestamps travel as msgpack integers; no chain comes near."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)


class LogError(MyceliumError):
    """A log from outside cannot be used. Counted and skipped, never fatal.

    Args:
        reason: what is wrong, with the value found.
    """

    cause = "malformed_log"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedLog(LogError):  # noqa: N818 - it names what was found, as the ledger's cause does
    """A log has not the form its type prescribes."""


class ImpossibleState(LogError):  # noqa: N818 - as above
    """A log is well formed, but says what no pool can be in."""

    cause = "impossible_state"


class Log(msgspec.Struct, frozen=True, gc=False):
    """One log.

    Args:
        address: the contract that emitted it.
        topics: 0 to 4 words of 32 bytes; the first one is the hash of the event's signature.
        data: the arguments that are not indexed.
        block: block number.
        log_index: place in the block.
        transaction: hash of the transaction, 32 bytes.
        timestamp: the block's, in seconds since 1970; 0 if the node did not say.
        removed: taken back by a reorganisation of the chain.
    """

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    log_index: int
    transaction: bytes
    timestamp: int
    removed: bool = False


def parse_log(obj: Any) -> Log:
    """The log of a JSON-RPC log object.

    Args:
        obj: the decoded JSON; anything is accepted and checked.

    Raises:
        MalformedLog: a field is missing or has another form. A pending log (``blockNumber`` null) is one such.
    """
    if not isinstance(obj, dict):
        raise MalformedLog(f"expected an object, found {type(obj).__name__}")
    topics = obj.get("topics")
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise MalformedLog(f"topics: expected a list of at most {MAX_TOPICS}, found {_shown(topics)}")
    removed = obj.get("removed", False)
    if not isinstance(removed, bool):
        raise MalformedLog(f"removed: expected true or false, found {_shown(removed)}")
    stamp = obj.get("blockTimestamp")
    return Log(
        address=Address(parse_bytes("address", obj.get("address"), 20)),
        topics=tuple([parse_bytes("topics", topic, 32) for topic in topics]),
        data=parse_bytes("data", obj.get("data")),
        block=parse_quantity("blockNumber", obj.get("blockNumber")),
        log_index=parse_quantity("logIndex", obj.get("logIndex")),
        transaction=parse_bytes("transactionHash", obj.get("transactionHash"), 32),
        timestamp=0 if stamp is None else parse_quantity("blockTimestamp", stamp),
        removed=removed,
    )


def log_to_json(log: Log) -> dict[str, Any]:
    """The JSON-RPC log object of ``log``: :func:`parse_log` gives the same log back."""
    return {
        "address": str(log.address),
        "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(),
        "blockNumber": hex(log.block),
        "blockTimestamp": hex(log.timestamp),
        "transactionHash": "0x" + log.transaction.hex(),
        "logIndex": hex(log.log_index),
        "removed": log.removed,
    }


def parse_bytes(key: str, value: Any, length: int | None = None) -> bytes:
    """Bytes written as ``0x`` and hex digits.

    Args:
        key: the field's name, for the message.
        value: what was found there.
        length: how many bytes are expected, None for any number.

    Raises:
        MalformedLog: not a string of this form.
    """
    if isinstance(value, str) and value[:2] == "0x":
        try:
            raw = bytes.fromhex(value[2:])
        except ValueError:
            raw = None
        # fromhex skips white space: the length of the text tells.
        if raw is not None and 2 * len(raw) + 2 == len(value) and length in (None, len(raw)):
            return raw
    wanted = "hex digits in pairs" if length is None else f"{2 * length} hex digits"
    raise MalformedLog(f"{key}: expected 0x and {wanted}, found {_shown(value)}")


def parse_quantity(key: str, value: Any) -> int:
    """A whole number written as ``0x`` and hex digits.

    Args:
        key: the field's name, for the message.
        value: what was found there.

    Raises:
        MalformedLog: not a string of this form, or above ``MAX_QUANTITY``.
    """
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        number = int(value, 16)
        if number <= MAX_QUANTITY:
            return number
    raise MalformedLog(f"{key}: expected 0x and a number in hex digits up to 2**63 - 1, found {_shown(value)}")


def _shown(value: Any) -> str:
    """``value`` for a message, cut: what comes from outside may be long."""
    text = repr(value)
    return text if len(text) <= 90 else f"{text[:80]}... ({len(text)} characters)"
