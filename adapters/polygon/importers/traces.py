"""Whole-block files of Parity traces, read into call trees.

The format is the one mev-inspect-py keeps its test blocks in: a JSON object with ``block_number``, ``block_timestamp``
(missing in most), ``traces`` as ``trace_block`` of OpenEthereum answers them, and ``receipts``. A trace's
``trace_address`` is its path from the transaction's outermost call; traces with ``error`` were rolled back together
with everything beneath them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.values import Address
from mycelium.core.errors import ConfigError, Problem

MAX_BLOCK_BYTES = 64 * 2**20
"""Largest unpacked file that is read; the 13 recorded blocks have 0.3 to 1.5 MB, a full block of today under 20."""


@dataclass(frozen=True, slots=True)
class Call:
    """One message call inside a transaction.

    Args:
        transaction: hash of the transaction, 32 bytes.
        transaction_index: the transaction's place in the block.
        path: the trace address; ``()`` is the outermost call.
        kind: ``call``, ``staticcall``, ``delegatecall`` or ``callcode``; ``create`` for a constructor.
        sender: who called.
        to: who was called; the new contract for ``create``.
        input: call data.
        output: what was returned, empty if the call failed.
        failed: whether this very call was rolled back.
        children: the calls made directly beneath, in order.
    """

    transaction: bytes
    transaction_index: int
    path: tuple[int, ...]
    kind: str
    sender: Address
    to: Address
    input: bytes
    output: bytes
    failed: bool
    children: list[Call] = field(default_factory=list)

    @property
    def selector(self) -> bytes:
        """First four bytes of the call data."""
        return self.input[:4]

    def word(self, index: int) -> int:
        """Argument ``index`` as an unsigned word; a missing tail counts as zero, as in the EVM."""
        start = 4 + 32 * index
        return int.from_bytes(self.input[start : start + 32].ljust(32, b"\0"), "big")

    def address(self, index: int) -> Address:
        """Argument ``index`` as an address (the low 20 bytes of its word)."""
        return Address((self.word(index) & (2**160 - 1)).to_bytes(20, "big"))


@dataclass(frozen=True, slots=True)
class BlockTraces:
    """A block's call trees, in transaction order.

    Args:
        block: block number.
        timestamp: seconds since 1970, 0 if the file does not say.
        roots: the outermost call of each transaction.
    """

    block: int
    timestamp: int
    roots: tuple[Call, ...]


def read_traces(path: Path) -> BlockTraces:
    """Read a block file, gzip'd or plain.

    Raises:
        ConfigError: missing, unreadable, too long, or not of this format; says which trace is wrong.
    """

    def wrong(key: str, message: str) -> ConfigError:
        return ConfigError([Problem(str(path), key, message)])

    try:
        with path.open("rb") as raw:
            opener: Any = gzip.open if raw.read(2) == b"\x1f\x8b" else open
        with opener(path, "rb") as stream:
            content = stream.read(MAX_BLOCK_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise wrong("", f"cannot be read: {error}") from error
    if len(content) > MAX_BLOCK_BYTES:
        raise wrong("", f"is longer than {MAX_BLOCK_BYTES} bytes unpacked, which no block is")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise wrong("", f"is no JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("traces"), list):
        raise wrong("traces", "expected an object with a list of traces, as mev-inspect-py stores a block")
    calls: list[Call] = []
    for position, trace in enumerate(document["traces"]):
        try:
            call = _parse_call(trace)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise wrong(f"traces[{position}]", f"is no Parity trace: {type(error).__name__} {error}") from error
        if call is not None:
            calls.append(call)
    block, timestamp = document.get("block_number"), document.get("block_timestamp") or 0
    if type(block) is not int or type(timestamp) is not int or block < 0 or timestamp < 0:
        raise wrong("block_number", f"expected whole numbers for block and timestamp, found {block!r}, {timestamp!r}")
    return BlockTraces(block, timestamp, tuple(_link(calls, wrong)))


def _parse_call(trace: dict[str, Any]) -> Call | None:
    """A call or constructor, None for what calls nothing (rewards, self-destructs)."""
    kind, action = trace["type"], trace["action"]
    if kind not in ("call", "create"):
        return None
    result = trace.get("result") or {}
    created = kind == "create"
    target = result.get("address") or "0x" + "00" * 20 if created else action["to"]
    output = "" if created else result.get("output") or ""
    return Call(
        transaction=_unhex(trace["transaction_hash"]),
        transaction_index=int(trace["transaction_position"]),
        path=tuple(int(step) for step in trace["trace_address"]),
        kind="create" if created else action.get("callType") or action["call_type"],
        sender=Address(action["from"]),
        to=Address(target),
        input=b"" if created else _unhex(action["input"]),
        output=_unhex(output),
        failed=bool(trace.get("error")),
    )


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _link(calls: list[Call], wrong: Any) -> Iterator[Call]:
    """Hang each call beneath its parent. Lexicographic order of the paths is the order of execution."""
    calls.sort(key=lambda call: (call.transaction_index, call.path))
    known: dict[tuple[int, tuple[int, ...]], Call] = {}
    for call in calls:
        key = (call.transaction_index, call.path)
        if key in known:
            raise wrong("traces", f"two calls at {list(call.path)} of transaction {call.transaction_index}")
        known[key] = call
        if not call.path:
            yield call
            continue
        parent = known.get((call.transaction_index, call.path[:-1]))
        if parent is None:
            raise wrong("traces", f"call {list(call.path)} of transaction {call.transaction_index} has no parent")
        parent.children.append(call)
