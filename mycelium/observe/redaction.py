"""What must not be read in a log: it is replaced before a line is written.

By its name, as the key of a value; by its place, as in ``user:password@host``; or because it was registered. This is
the last net. Who knows that something is secret does not log it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog

REDACTED = "[redacted]"

SHORTEST_SECRET = 4
"""Characters: what is shorter is found in every other word, and hiding it would hide the log."""

DEEPEST = 8
"""Levels of values in values. What lies deeper is looked at as text; some objects contain themselves."""

# The last words of a name. Not `tokens`, and not `token_in`: tokens are traded here.
_NAME = re.compile(
    r"(?:^|_)(?:secrets?|passwords?|passwd|passphrase|pwd|token|authorization|bearer|cookies?|credentials?"
    r"|mnemonics?|seed_phrase|(?:api|private|secret|access|signing|encryption)_?keys?)$"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# `password=x`, a parameter of a URL, `private_key='x'` as objects show themselves, `'token': 'x'` as dictionaries do.
# Names have a limit, without which a long text made for it would take the square of its length.
_ASSIGNMENT = re.compile(r"""(\b[\w-]{1,64}=|(["'])[\w-]{1,64}\2:\s*)("[^"]*"|'[^']*'|[^\s&#,;(){}'"]+)""")
_PARAMETER = re.compile(r"([?&](?:key|auth|sig|signature)=)[^\s&#'\"<>]+")
_USER = re.compile(r"(://)[^\s/?#'\"<>]+@")
_BEARER = re.compile(r"(?i)\b(Bearer|Basic)\s+[\w.~+/=-]{8,}")
# The keys of RPC providers are parts of paths. Where a client library says the path alone, `/v2/` tells.
_URL = re.compile(r"\b((?:https?|wss?)://[^\s/'\"<>]+)(/[^\s'\"<>]*)")
_KEY_IN_PATH = re.compile(r"(?<=/)(?=[\w-]*\d)[\w-]{20,}")
_VERSIONED = re.compile(r"(/v\d+/)[\w-]{20,}")

_registered: frozenset[str] = frozenset()
_exactly: re.Pattern[str] | None = None


def register_secret(value: str) -> None:
    """From now on, replace this value wherever it is in a log line, in either case, and without its ``0x``.

    Args:
        value: of at least :data:`SHORTEST_SECRET` characters; shorter ones are not looked for.
    """
    global _registered, _exactly  # noqa: PLW0603 - of the process, as its log is
    value = value.strip().removeprefix("0x")
    if len(value) >= SHORTEST_SECRET:
        _registered |= {value}
        longest_first = sorted(_registered, key=len, reverse=True)
        _exactly = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A processor of structlog. It comes after all that add to the event, the renderer of exceptions included."""
    return {key: _entry(key, value, 0) for key, value in event.items()}


@lru_cache(maxsize=1024)
def names_a_secret(name: str) -> bool:
    """Whether what is called so is to be replaced."""
    return _NAME.search(_CAPITAL.sub("_", name).replace("-", "_").lower()) is not None


def redact_text(text: str) -> str:
    """Replace what is secret in a text."""
    if _exactly is not None:
        text = _exactly.sub(REDACTED, text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    if "=" in text or ":" in text:
        text = _ASSIGNMENT.sub(_assignment, text)
        text = _PARAMETER.sub(rf"\1{REDACTED}", text)
        text = _USER.sub(rf"\1{REDACTED}@", text)
        text = _URL.sub(lambda found: found[1] + _KEY_IN_PATH.sub(REDACTED, found[2]), text)
    return _VERSIONED.sub(rf"\1{REDACTED}", text)


def _assignment(found: re.Match[str]) -> str:
    name = found[1].rstrip("=: ").strip("\"'")
    return found[1] + REDACTED if names_a_secret(name) else found[0]


def _entry(key: object, value: Any, depth: int) -> Any:
    # Nothing, and whether there is something, tell nothing of it.
    if isinstance(key, str) and names_a_secret(key) and value and value is not True:
        return REDACTED
    return _value(value, depth)


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if depth < DEEPEST:
        if isinstance(value, Mapping):
            return {key: _entry(key, inner, depth + 1) for key, inner in value.items()}
        if (kind := type(value)) in (list, tuple, set, frozenset):
            return kind(_value(inner, depth + 1) for inner in value)
    # An object stays what it is, for whoever renders it, unless it would show a secret.
    shown = repr(value)
    clean = redact_text(shown)
    return value if clean == shown else clean
