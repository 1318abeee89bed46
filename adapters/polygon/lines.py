"""Reads the lines of a file, gzip'd or plain, that may be cut or damaged anywhere.

Whatever can be unpacked before the damage is delivered, to the byte: ``gzip.open`` would withhold what it unpacked in
the same step in which it met the damage.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from mycelium.core.errors import ConfigError, Problem

MAX_LINE_BYTES = 16 * 2**20
"""Longest line that is read. Chosen by us: an ``eth_getLogs`` answer of 10,000 logs, the most that public nodes give,
has about 7 MB. A longer line is skipped without being held."""

_CHUNK = 64 * 1024
_UNPACKED = 256 * 1024
"""Most bytes unpacked in one step, so that a small file cannot take all memory."""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where in a source something stands.

    Args:
        line: counted from 1.
        item: place in the list that the line holds, counted from 1; 0 if it holds one thing.
    """

    line: int
    item: int = 0

    def __str__(self) -> str:
        return f"line {self.line}, item {self.item}" if self.item else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of a source that cannot be used; reading goes on behind it if there is anything.

    Args:
        position: where.
        cause: ``malformed_line``, ``malformed_log`` or ``truncated_capture``.
        detail: what is wrong.
    """

    position: Position
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end.

    Args:
        number: counted from 1.
        text: its bytes.
        complete: False for the last line if nothing ends it: it may have been cut.
    """

    number: int
    text: bytes
    complete: bool = True


class LineReader:
    """The lines of one file. Close it, or use it as a context manager.

    Args:
        path: the file; gzip is told by its first two bytes, not by its name.

    Raises:
        ConfigError: the file is missing or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror or error}")]) from error
        self._damage: str | None = None

    @property
    def consumed(self) -> int:
        """How many bytes of the file have been read so far, of :attr:`size`."""
        return self._file.tell() if not self._file.closed else self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called again."""
        self._file.close()

    def lines(self) -> Iterator[Line | Fault]:
        """The lines, a fault in the place of one that is too long, and a last fault if the file is cut or damaged."""
        number, pending, skipping = 1, bytearray(), False
        for chunk in self._unpacked():
            start = 0
            while (end := chunk.find(b"\n", start)) >= 0:
                if not skipping:
                    pending += chunk[start:end]
                    yield _bounded(number, bytes(pending))
                pending.clear()
                skipping = False
                number += 1
                start = end + 1
            if not skipping:
                pending += chunk[start:]
                if len(pending) > MAX_LINE_BYTES:
                    yield _bounded(number, bytes(pending))
                    pending.clear()
                    skipping = True
        if pending:
            yield Line(number, bytes(pending), complete=False)
        if self._damage is not None:
            yield Fault(Position(number), "truncated_capture", self._damage)

    def _unpacked(self) -> Iterator[bytes]:
        try:
            chunk = self._file.read(_CHUNK)
            if chunk[:2] == _GZIP:
                yield from self._inflated(chunk)
                return
            while chunk:
                yield chunk
                chunk = self._file.read(_CHUNK)
        except OSError as error:
            self._damage = f"the file cannot be read further: {error.strerror or error}"

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        member = zlib.decompressobj(wbits=31)
        more = bool(data)
        while more:
            before = member.copy()
            try:
                out = member.decompress(data, _UNPACKED)
            except zlib.error as error:
                self._damage = f"the packed data is damaged: {error}"
                yield from _salvaged(before, data)
                return
            yield out
            if member.eof:
                # Another member may follow: gzip files can be joined end to end, and padded with zeros.
                data = member.unused_data.lstrip(b"\0")
                while not data and (chunk := self._file.read(_CHUNK)):
                    data = chunk.lstrip(b"\0")
                member = zlib.decompressobj(wbits=31)
                more = bool(data)
            elif len(out) == _UNPACKED:
                data = member.unconsumed_tail  # may be empty: what is left to unpack can be inside zlib
            else:
                data = self._file.read(_CHUNK)
                if not data:
                    self._damage = "the file ends within the packed data"
                    return


def _salvaged(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """What can be unpacked before the damage, byte by byte."""
    while True:
        try:
            byte = member.decompress(data, 1)
        except zlib.error:
            return
        if not byte:
            return
        yield byte
        data = member.unconsumed_tail


def _bounded(number: int, text: bytes) -> Line | Fault:
    if len(text) > MAX_LINE_BYTES:
        return Fault(Position(number), "malformed_line", f"longer than {MAX_LINE_BYTES} bytes")
    return Line(number, text)


class LogReader:
    """Base of the readers of logs: how far they are, and their end. Use one as a context manager, or close it."""

    _reader: LineReader

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._reader.size

    @property
    def consumed(self) -> int:
        """Bytes of the file that have been read so far."""
        return self._reader.consumed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called again."""
        self._reader.close()
