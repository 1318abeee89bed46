"""Topics, templates and patterns, and a trie that matches them.

Grammar (RFC 5234)::

    topic    = segment *("." segment)                 ; market.quickswap.wmatic-usdc
    segment  = 1*(%x61-7A / DIGIT / "_" / "-")        ; lower case
    template = part *("." part)                       ; market.{venue}.{instrument}
    part     = segment / "{" field "}"
    pattern  = ">" / token *("." token) ["." ">"]     ; market.*.wmatic-usdc, market.>
    token    = segment / "*"

``*`` stands for exactly one segment and ``>`` for one or more at the end. ZeroMQ filters by byte
prefix, so that ``market.eth`` would also receive ``market.ethereum``. A frame starts with
``topic, 0x00``, which makes an exact topic precise on the socket; for wildcards
:attr:`Pattern.prefix` is what to subscribe with and :class:`TopicTrie` what to ask afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from mycelium.core.errors import TopicError

# Chosen by us: the longest topic of the trading system is under 80 bytes. It bounds what a
# decoder scans for the terminator.
MAX_TOPIC_BYTES = 255

SYSTEM_PREFIX = "_sys"
"""First segment of the fabric's own topics."""

_SEGMENT = re.compile(r"[a-z0-9_-]+", re.ASCII)
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_TOPIC = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)
_SEGMENT_RULE = "must be one or more of a-z, 0-9, '_' and '-'"

T = TypeVar("T")


def check_topic(topic: str) -> str:
    """Return ``topic`` if it is grammatical.

    Raises:
        TopicError: it is not; the message names the segment.
    """
    if len(topic) > MAX_TOPIC_BYTES:
        raise TopicError(topic, f"{len(topic)} bytes long, at most {MAX_TOPIC_BYTES} are accepted")
    if _TOPIC.fullmatch(topic) is None:
        wrong = next((part for part in topic.split(".") if not _SEGMENT.fullmatch(part)), topic)
        raise TopicError(topic, f"segment {wrong!r} {_SEGMENT_RULE}")
    return topic


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A topic with fields of the message in braces, such as ``market.{venue}.{instrument}``.

    Build one with :meth:`parse`.
    """

    text: str
    fields: tuple[str, ...]
    _parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> TopicTemplate:
        """Read a template.

        Raises:
            TopicError: a part is neither a segment nor ``{field}``.
        """
        fields: list[str] = []
        parts = text.split(".")
        for part in parts:
            match = _FIELD.fullmatch(part)
            if match:
                fields.append(match[1])
            elif not _SEGMENT.fullmatch(part):
                raise TopicError(text, f"part {part!r} {_SEGMENT_RULE}, or a field in braces")
        return cls(text, tuple(fields), tuple(parts))

    def fill(self, values: Iterable[Any]) -> str:
        """The topic for these field values, in the order of :attr:`fields`.

        Raises:
            TopicError: a value does not make exactly one segment.
        """
        remaining = iter(values)
        segments = [str(next(remaining)) if part[0] == "{" else part for part in self._parts]
        topic = ".".join(segments)
        for segment in segments:
            if not _SEGMENT.fullmatch(segment):
                raise TopicError(topic, f"segment {segment!r} {_SEGMENT_RULE}")
        return check_topic(topic)

    def key_of(self, message: Any) -> Any:
        """What of ``message`` decides its topic: the value of the only field, or a tuple of values."""
        return attrgetter(*self.fields)(message) if self.fields else None

    def topic_of(self, message: Any) -> str:
        """The topic on which ``message`` travels.

        Raises:
            TopicError: a field's value does not make a segment.
        """
        return self.fill(getattr(message, name) for name in self.fields)

    @property
    def pattern(self) -> Pattern:
        """The pattern that all topics of this template match."""
        return Pattern.parse(".".join("*" if part[0] == "{" else part for part in self._parts))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which topics a subscription wants. Build one with :meth:`parse`."""

    text: str
    tokens: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern.

        Raises:
            TopicError: a token is neither a segment nor ``*``, or ``>`` stands before the end.
        """
        if len(text) > MAX_TOPIC_BYTES:
            raise TopicError(text, f"{len(text)} bytes long, at most {MAX_TOPIC_BYTES} are accepted")
        tokens = tuple(text.split("."))
        for position, token in enumerate(tokens):
            if token == ">" and position != len(tokens) - 1:
                raise TopicError(text, "'>' stands for the rest and is accepted at the end only")
            if token not in ("*", ">") and not _SEGMENT.fullmatch(token):
                raise TopicError(text, f"token {token!r} {_SEGMENT_RULE}, or '*' for one segment, or '>' for the rest")
        return cls(text, tokens)

    @property
    def prefix(self) -> bytes:
        """The bytes to subscribe with on a ZeroMQ socket: the narrowest prefix of all frames that can match."""
        literal: list[str] = []
        for token in self.tokens:
            if token in ("*", ">"):
                return ("".join(part + "." for part in literal)).encode()
            literal.append(token)
        return ".".join(literal).encode() + b"\0"

    def matches(self, topic: str) -> bool:
        """Whether ``topic`` is wanted. For one pattern; a :class:`TopicTrie` asks many at once."""
        segments = topic.split(".")
        for position, token in enumerate(self.tokens):
            if token == ">":
                return len(segments) > position
            if position >= len(segments) or token not in ("*", segments[position]):
                return False
        return len(segments) == len(self.tokens)

    def covers(self, other: Pattern) -> bool:
        """Whether every topic that ``other`` matches is matched by this pattern too."""
        for position, token in enumerate(self.tokens):
            if position >= len(other.tokens):
                return False
            theirs = other.tokens[position]
            if token == ">":
                return True
            if theirs == ">" or token not in ("*", theirs):
                return False
        return len(other.tokens) == len(self.tokens)

    def overlaps(self, other: Pattern) -> bool:
        """Whether some topic is matched by both."""
        for position in range(max(len(self.tokens), len(other.tokens))):
            if position >= len(self.tokens) or position >= len(other.tokens):
                return False
            mine, theirs = self.tokens[position], other.tokens[position]
            if ">" in (mine, theirs):
                return True
            if "*" not in (mine, theirs) and mine != theirs:
                return False
        return True


@dataclass(slots=True)
class _Node(Generic[T]):
    children: dict[str, _Node[T]] = field(default_factory=dict)
    values: list[tuple[int, T]] = field(default_factory=list)


class TopicTrie(Generic[T]):
    """Finds the values whose patterns match a topic, in the order in which they were added."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._added = 0

    def add(self, pattern: Pattern, value: T) -> None:
        """Register ``value`` under ``pattern``. The same value may stand under several patterns."""
        node = self._root
        for token in pattern.tokens:
            node = node.children.setdefault(token, _Node())
        self._added += 1
        node.values.append((self._added, value))

    def remove(self, pattern: Pattern, value: T) -> None:
        """Take one registration of ``value`` under ``pattern`` back, and the nodes only it needed.

        Raises:
            KeyError: it was not registered.
        """
        path = [self._root]
        for token in pattern.tokens:
            path.append(path[-1].children[token])
        for index, (_, held) in enumerate(path[-1].values):
            if held is value:
                del path[-1].values[index]
                break
        else:
            raise KeyError(pattern.text)
        for parent, token, node in reversed(list(zip(path, pattern.tokens, path[1:], strict=False))):
            if node.children or node.values:
                break
            del parent.children[token]

    def match(self, topic: str) -> list[T]:
        """The values of all patterns that match ``topic``, oldest registration first."""
        found = sorted(self._walk(self._root, topic.split("."), 0), key=lambda entry: entry[0])
        return [value for _, value in found]

    def _walk(self, node: _Node[T], segments: list[str], depth: int) -> Iterator[tuple[int, T]]:
        if depth == len(segments):
            yield from node.values
            return
        rest = node.children.get(">")
        if rest is not None:
            yield from rest.values
        for token in (segments[depth], "*"):
            child = node.children.get(token)
            if child is not None:
                yield from self._walk(child, segments, depth + 1)
