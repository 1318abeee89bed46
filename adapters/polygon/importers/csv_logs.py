"""Logs of one pool in the CSV files of demeter-fetch.

Two layouts are read, told apart by their first line: ``pool_tx_index, pool_log_index, pool_topics, pool_data`` (with
columns of a position manager behind them, which are not needed), and ``transaction_index, log_index, topics, data``.
Topics are a list in Python's notation, data is hex, times are UTC.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from adapters.polygon.capture import Entry, Header, Reading
from adapters.polygon.lines import Fault, Line, LineReader, LogReader, Position
from adapters.polygon.logs import MAX_QUANTITY, MAX_TOPICS, Log, MalformedLog, parse_bytes
from contracts.market import PoolMetadata
from mycelium.core.errors import ConfigError, Problem

_COMMON = ("block_number", "block_timestamp", "transaction_hash")
LAYOUTS = (("pool_log_index", "pool_topics", "pool_data"), ("log_index", "topics", "data"))
"""Names of the columns for log index, topics and data."""


class CsvReader(LogReader):
    """Reads such a file from beginning to end, once, as a capture is read. Close it, or use it as a context manager.

    Args:
        path: the file, gzip'd or plain.
        pool: the pool whose logs it holds; the file does not say.
        chain_id: EIP-155 number of the chain; the file does not say either.

    Raises:
        ConfigError: the file is missing or unreadable, or its first line names other columns.
    """

    def __init__(self, path: Path, pool: PoolMetadata, *, chain_id: int) -> None:
        self.header = Header(chain_id, f"demeter-fetch, {path.name}", (pool,))
        self._pool = pool
        self._reader = LineReader(path)
        self._lines = self._reader.lines()
        first = next(self._lines, None)
        names = next(csv.reader([first.text.decode(errors="replace")]), []) if isinstance(first, Line) else []
        layout = next((layout for layout in LAYOUTS if set(layout) | set(_COMMON) <= set(names)), None)
        if layout is None:
            self._reader.close()
            wanted = " or ".join(", ".join(_COMMON + layout) for layout in LAYOUTS)
            raise ConfigError([Problem(str(path), "", f"the first line names {names}; expected columns {wanted}")])
        self._width = len(names)
        self._columns = tuple(names.index(name) for name in _COMMON + layout)

    def __iter__(self) -> Iterator[Reading]:
        """Every log with its line, and a fault for every line that holds none. Never raises for bad content."""
        cut: Position | None = None
        for line in self._lines:
            if isinstance(line, Fault):
                yield line
                cut = None
                continue
            position = Position(line.number)
            try:
                row = next(csv.reader([line.text.decode()], strict=True), [])
            except (UnicodeDecodeError, csv.Error) as error:
                row, reason = [], str(error)
            else:
                reason = f"expected {self._width} columns, found {len(row)}"
            if len(row) == self._width:
                yield self._entry(position, row)
            elif line.complete:
                yield Fault(position, "malformed_line", reason)
            else:
                cut = position
        if cut is not None:
            yield Fault(cut, "truncated_capture", "the last line is cut")

    def _entry(self, position: Position, row: list[str]) -> Reading:
        block, stamp, transaction, index, topics, data = (row[column] for column in self._columns)
        try:
            return Entry(
                position,
                Log(
                    address=self._pool.pool,
                    topics=_topics(topics),
                    data=parse_bytes("data", data),
                    block=_number("block_number", block),
                    log_index=_number("log index", index),
                    transaction=parse_bytes("transaction_hash", transaction, 32),
                    timestamp=_seconds(stamp),
                ),
            )
        except MalformedLog as error:
            return Fault(position, error.cause, error.reason)


def _number(key: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_QUANTITY:
        return int(text)
    raise MalformedLog(f"{key}: expected a whole number, found {text!r:.80}")


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedLog(f"block_timestamp: expected a date and time, found {text!r:.80}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _topics(text: str) -> tuple[bytes, ...]:
    try:
        topics = json.loads(text.replace("'", '"'))
    except (ValueError, RecursionError):
        topics = None
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise MalformedLog(f"topics: expected a list of at most {MAX_TOPICS} words, found {text!r:.80}")
    return tuple(parse_bytes("topics", topic, 32) for topic in topics)
