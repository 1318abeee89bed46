"""A file of JSON lines that is written as they come and ends in an order of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from mycelium.core.errors import PathError

Line: TypeAlias = dict[str, Any]


class LineFile:
    """Lines of which each has a place.

    Args:
        path: a file that is there is replaced.
        place: what lines are sorted by.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, place: Callable[[Line], tuple[Any, ...]]) -> None:
        self._path = path
        self._place = place
        self._file = path.open("wb", buffering=0)
        self._last: tuple[Any, ...] = ()
        self._in_order = True
        self._whole = True
        self.void = 0
        """How many lines were void, once it is closed."""

    def write(self, line: Line) -> None:
        """Write a line: to the operating system's cache, which takes a few microseconds, not to the disk.

        Raises:
            PathError: it cannot be written.
        """
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = self._file.write(data)
        except OSError as error:
            self._whole = False
            raise PathError(str(self._path), f"cannot be written: {error.strerror}") from error
        if written != len(data):
            self._whole = False
            raise PathError(str(self._path), "cannot be written: the disk is full")
        place = self._place(line)
        self._in_order = self._in_order and place > self._last
        self._last = place

    def close(self, is_void: Callable[[Line], bool] | None = None) -> int:
        """Close the file, with its lines in order and each of them once.

        Where they came in another order, or some may be void, the file is written anew, which takes the memory of all
        its lines; until that is done it stays as it is. One that could not be written whole stays so.

        Args:
            is_void: which lines are to be left out; None if no line is.

        Returns:
            How many lines were repeats, of void ones too.

        Raises:
            PathError: it cannot be written anew.
        """
        self._file.close()
        if (self._in_order and is_void is None) or not self._whole:
            return 0
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
            once = set(lines)
            kept: list[tuple[tuple[Any, ...], bytes]] = []
            for data in once:
                line = msgspec.json.decode(data)
                if is_void is None or not is_void(line):
                    kept.append((self._place(line), data))
            partial.write_bytes(b"".join(data for _, data in sorted(kept)))
            partial.replace(self._path)
        except OSError as error:
            raise PathError(str(self._path), f"cannot be put in order: {error.strerror}") from error
        self.void = len(once) - len(kept)
        return len(lines) - len(once)
