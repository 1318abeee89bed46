"""Captures: recorded logs of an EVM chain, as a node sent them.

A capture is a file of JSON lines in UTF-8, gzip'd or plain. The first line describes it::

    {"capture": 1, "chain_id": 137, "recorded_by": "...",
     "pools": [{"address", "venue", "protocol", "token0", "token1", "fee_pips", "tick_spacing"}, ...],
     "tokens": [{"address", "symbol", "decimals"}, ...]}

Every other line is what a node answers: a log object, an ``eth_subscribe`` notification with one, or an ``eth_getLogs``
response with a list of them, in the order of the chain. Empty lines are passed over.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
from pydantic import Field, ValidationError

from adapters.polygon.describe import EntryModel, HeaderPool, TokenEntry, clashes, pool_metadata
from adapters.polygon.lines import Fault, Line, LineReader, LogReader, Position
from adapters.polygon.logs import Log, LogError, log_to_json, parse_log
from contracts.market import PoolMetadata
from contracts.values import Address
from mycelium.core.errors import ConfigError, Problem
from mycelium.topology.problems import problems_of

VERSION = 1

_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One log of a source and where it stands."""

    position: Position
    log: Log


Reading: TypeAlias = Entry | Fault


class _HeaderModel(EntryModel):
    capture: Literal[1]
    chain_id: int = Field(ge=1, strict=True)
    recorded_by: str = ""
    pools: tuple[HeaderPool, ...]
    tokens: tuple[TokenEntry, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a source says about itself.

    Args:
        chain_id: EIP-155 number of the chain, 137 for Polygon.
        recorded_by: which program made it, for the reader's information.
        pools: the pools that are fully described.
        missing_tokens: pools of which a token is not described, with that token's address.
    """

    chain_id: int
    recorded_by: str
    pools: tuple[PoolMetadata, ...]
    missing_tokens: Mapping[Address, Address] = field(default_factory=lambda: MappingProxyType({}))


def parse_header(file: str, text: bytes) -> Header:
    """The header in a capture's first line.

    Args:
        file: name of the file, for messages.
        text: the line.

    Raises:
        ConfigError: it is no header, or describes a pool or token twice or in contradiction.
    """
    try:
        model = _HeaderModel.model_validate(msgspec.json.decode(text))
    except ValidationError as error:
        raise ConfigError(problems_of(error, _HeaderModel, lambda _key: file)) from error
    except _NO_JSON as error:
        message = f"the first line is no header: {error}; is this a capture? See adapters/polygon/capture.py"
        raise ConfigError([Problem(file, "", message)]) from error
    tokens = {entry.address: entry.token() for entry in model.tokens}
    problems = [Problem(file, "tokens", "a token is described twice")] if len(tokens) != len(model.tokens) else []
    pools, missing = [], {}
    for pool in model.pools:
        absent = next((address for address in (pool.token0, pool.token1) if address not in tokens), None)
        if absent is not None:
            missing[pool.address] = absent
        else:
            pools.append(pool_metadata(pool, tokens[pool.token0], tokens[pool.token1]))
    problems += clashes(file, pools)
    if problems:
        raise ConfigError(problems)
    return Header(model.chain_id, model.recorded_by, tuple(pools), MappingProxyType(missing))


def header_to_json(header: Header) -> dict[str, Any]:
    """The header's JSON object. Pools with missing tokens cannot be written and are left out."""
    tokens = {token.address: token for pool in header.pools for token in (pool.token0, pool.token1)}
    return {
        "capture": VERSION,
        "chain_id": header.chain_id,
        "recorded_by": header.recorded_by,
        "pools": [
            {
                "address": str(pool.pool),
                "venue": pool.venue,
                "protocol": pool.protocol.value,
                "token0": str(pool.token0.address),
                "token1": str(pool.token1.address),
                "fee_pips": pool.fee_pips,
                "tick_spacing": pool.tick_spacing,
            }
            for pool in header.pools
        ],
        "tokens": [
            {"address": str(token.address), "symbol": token.symbol, "decimals": token.decimals}
            for token in tokens.values()
        ],
    }


class CaptureReader(LogReader):
    """Reads a capture from beginning to end, once. Close it, or use it as a context manager.

    Args:
        path: the file, gzip'd or plain.

    Raises:
        ConfigError: the file is missing or unreadable, or its first line is no usable header.
    """

    def __init__(self, path: Path) -> None:
        self._reader = LineReader(path)
        self._lines = self._reader.lines()
        try:
            match next(self._lines, None):
                case Line(text=text):
                    self.header = parse_header(str(path), text)
                case Fault(detail=detail):
                    raise ConfigError([Problem(str(path), "", f"the header cannot be read: {detail}")])
                case None:
                    raise ConfigError([Problem(str(path), "", "is empty; a capture begins with a header line")])
        except ConfigError:
            self._reader.close()
            raise

    def __iter__(self) -> Iterator[Reading]:
        """Every log with its position, and a fault for everything that is none. Never raises for bad content."""
        cut: Fault | None = None
        for line in self._lines:
            if isinstance(line, Fault):
                yield line if cut is None or line.cause != cut.cause else Fault(cut.position, cut.cause, line.detail)
                cut = None
                continue
            if not line.text or line.text.isspace():
                continue
            try:
                document = msgspec.json.decode(line.text)
            except _NO_JSON as error:
                fault = Fault(Position(line.number), "malformed_line", f"no JSON: {error}")
                if line.complete:
                    yield fault
                else:  # nothing ends it and it is no JSON: it was cut, which a fault behind it says in full
                    cut = Fault(fault.position, "truncated_capture", f"the last line is cut: {error}")
                continue
            yield from _logs_of(line.number, document)
        if cut is not None:
            yield cut


def _logs_of(number: int, document: Any) -> Iterator[Reading]:
    """The logs in one line."""
    if not isinstance(document, dict):
        yield Fault(Position(number), "malformed_line", f"expected an object, found {type(document).__name__}")
    elif document.get("method") == "eth_subscription":
        params = document.get("params")
        result = params.get("result") if isinstance(params, dict) else None
        yield _entry(Position(number), result)
    elif "jsonrpc" in document:
        result = document.get("result")
        if isinstance(result, list):
            for item, obj in enumerate(result, 1):
                yield _entry(Position(number, item), obj)
        else:
            found = f"error {document['error']!r:.80}" if "error" in document else f"result {result!r:.80}"
            yield Fault(Position(number), "malformed_line", f"expected a response with a list of logs, found {found}")
    else:
        yield _entry(Position(number), document)


def _entry(position: Position, obj: Any) -> Reading:
    try:
        return Entry(position, parse_log(obj))
    except LogError as error:
        return Fault(position, error.cause, error.reason)


def write_capture(path: Path, header: Header, lines: Iterable[Mapping[str, Any] | Log]) -> int:
    """Write a capture; the same content gives the same bytes.

    The file appears under its name when it is complete, never half.

    Args:
        path: where to; gzip'd if the name ends in ``.gz``.
        header: what it holds.
        lines: JSON objects as the node sent them, or logs.

    Returns:
        How many lines were written, the header not counted.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    written = 0
    try:
        with ExitStack() as open_files:
            target: Any = open_files.enter_context(partial.open("wb"))
            if path.name.endswith(".gz"):
                # Name and time would make each file different.
                target = open_files.enter_context(gzip.GzipFile("", "wb", 9, target, mtime=0))
            target.write(compact(header_to_json(header)))
            for line in lines:
                target.write(compact(log_to_json(line) if isinstance(line, Log) else line))
                written += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return written


def compact(document: Mapping[str, Any]) -> bytes:
    """A line of a capture."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
