"""Conditions on a message's fields, as they are typed: ``block>=100``, ``token0.symbol=USDC``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from mycelium.cli.values import plain

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_CONDITION = re.compile(r"(?P<path>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)(?P<how>!=|>=|<=|=|>|<)(?P<value>.*)", re.DOTALL)
_HEX = re.compile(r"0x[0-9a-fA-F]*")


@dataclass(frozen=True)
class Condition:
    """One condition. Build it with :meth:`parse`.

    Args:
        path: names of fields, and numbers of elements, from the outside to the inside.
        how: the comparison.
        value: with what.
    """

    path: tuple[str, ...]
    how: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ValueError: it is none.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no condition such as block=100, venue!=quickswap, amount0>1e18 or tick<0")
        return cls(tuple(match["path"].split(".")), match["how"], match["value"])

    def holds(self, fields: Any) -> bool:
        """Whether it holds of the fields of a message: a mapping by name, or a sequence.

        What is not there is different from everything, and neither more nor less.
        """
        found = fields
        for step in self.path:
            found = _inside(found, step)
        compare = _COMPARE[self.how]
        actual, wanted = _comparable(found, self.value)
        if wanted is None:
            return self.how == "!="
        return compare(actual, wanted)


class _Nothing:
    """Of what is not there."""


_NOTHING = _Nothing()


def _inside(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step, _NOTHING)
    if hasattr(value, "__struct_fields__"):
        return getattr(value, step) if step in value.__struct_fields__ else _NOTHING
    if isinstance(value, list | tuple) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return _NOTHING


def _comparable(found: Any, text: str) -> tuple[Any, Any]:
    """Both sides in a form in which they can be compared; the second is None if they cannot."""
    if found is _NOTHING:
        return found, None
    if isinstance(found, bool) or found is None:
        return {True: "true", False: "false", None: "null"}[found], text
    if isinstance(found, int | float):
        return found, _number(text)
    shown = plain(found)
    if isinstance(shown, str):
        if isinstance(found, bytes) or _HEX.fullmatch(shown):
            return shown.lower(), text.lower() if text[:2].lower() == "0x" else "0x" + text.lower()
        return shown, text
    return shown, None


def _number(text: str) -> Decimal | int | None:
    try:
        if _HEX.fullmatch(text):
            return int(text, 16)
        number = Decimal(text.replace("_", ""))
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() else None
