"""How values from outside look at a terminal and in JSON. Nothing that comes in reaches either of them raw."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mycelium.core.message import WireValue

MAX_JSON_INT = 2**53
"""Beyond it a JSON number is not the same number everywhere: whoever reads it as a double gets another one."""

MAX_DEPTH = 64
"""How deep values may lie in one another. Chosen by us: no contract of ours goes beyond three."""

MAX_SHOWN = 400
"""Characters of one text at a terminal, and hex digits of bytes. The rest is in the JSON form."""

ELLIPSIS = "…"

_PLAIN_TEXT = re.compile(r"[\w.:/+@%~-]+")


def escaped(text: str) -> str:
    """A text without anything that a terminal could take for more than a character: that is shown as an escape.

    Control characters, those that turn the direction of writing, line separators, and what is no character.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def plain(value: Any, depth: int = 0) -> Any:
    """A value of what JSON has. Whole numbers that it cannot hold are decimal text, and bytes are hex with ``0x``."""
    if depth > MAX_DEPTH:
        return ELLIPSIS
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return plain(value.value, depth + 1)
        case int():
            return str(int(value)) if isinstance(value, WireValue) or abs(value) > MAX_JSON_INT else int(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case str():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return "0x" + bytes(value).hex()
        case WireValue():
            return "0x" + value.to_wire().hex()
        case msgspec.Struct():
            return {name: plain(item, depth + 1) for name, item in items_of(value)}
        case Mapping():
            return {_key(key, depth): plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, depth + 1) for item in value]
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case msgspec.msgpack.Ext():
            return {"ext": value.code, "data": "0x" + bytes(value.data).hex()}
        case _:
            return str(value)


def items_of(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """Names and values of a struct's fields, in wire order."""
    return ((name, getattr(value, name)) for name in value.__struct_fields__)


def _key(key: Any, depth: int) -> str:
    """A key of a map: JSON has texts only."""
    found = plain(key, depth + 1)
    return found if isinstance(found, str) else json.dumps(found)


def json_line(value: Any) -> str:
    """One line of JSON, in ASCII without control characters."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def brief(value: Any) -> str:
    """A value as a person reads it, in one line: of what :func:`plain` makes of it, long parts are cut."""
    return _brief(plain(value))


def _brief(value: Any) -> str:
    match value:
        case dict():
            return "{" + " ".join(f"{_text(key)}={_brief(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(_brief(item) for item in value) + "]"
        case str():
            return _text(value)
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    if len(text) > MAX_SHOWN:
        return f"{_text(text[:MAX_SHOWN])}{ELLIPSIS}({len(text)})"
    if text.isprintable() and _PLAIN_TEXT.fullmatch(text):
        return text
    return escaped(repr(text))
