"""Who may publish what, read what and ask what. Built from the spec, asked by a broker for everything that it is told.

Reading has two doors. What a reader asks for one by one (joins, repairs, marks) is judged exactly. What it subscribes
to on a socket is a prefix of bytes, and libzmq sends everything that begins with it: such a prefix is granted only if
all that can begin with it is for that reader (:meth:`Access.leaks` finds the entries of which that is not true).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mycelium.core.topics import Pattern


class Entry(NamedTuple):
    """One line of the access list.

    Args:
        type_id: of a contract.
        pattern: on which topics.
    """

    type_id: int
    pattern: Pattern

    def matches(self, type_id: int, topic: str) -> bool:
        """Whether it is about such a message."""
        return self.type_id == type_id and self.pattern.matches(topic)


@dataclass(frozen=True, slots=True)
class Rights:
    """What one service or operator may do.

    Args:
        publishes: what it may publish.
        subscribes: what it may read.
        is_operator: whether it may ask for the books and for who is there, which services may not.
    """

    publishes: tuple[Entry, ...] = ()
    subscribes: tuple[Entry, ...] = ()
    is_operator: bool = False


NO_RIGHTS = Rights()
"""Of whoever is not on the list."""


class Access:
    """The access list of a system.

    Args:
        rights: by the name of the service or operator.
    """

    def __init__(self, rights: Mapping[str, Rights]) -> None:
        self._rights = dict(rights)

    def __contains__(self, name: str) -> bool:
        return name in self._rights

    def rights(self, name: str) -> Rights:
        """What somebody may do; nothing if it is not on the list."""
        return self._rights.get(name, NO_RIGHTS)

    def may_publish(self, name: str, type_id: int, topic: str) -> bool:
        """Whether ``name`` may publish messages of a contract on a topic."""
        return any(entry.matches(type_id, topic) for entry in self.rights(name).publishes)

    def may_read(self, name: str, type_id: int, topic: str) -> bool:
        """Whether ``name`` may read messages of a contract on a topic; of any contract if the type id is 0, unknown."""
        return any(entry.matches(type_id or entry.type_id, topic) for entry in self.rights(name).subscribes)

    def may_join(self, name: str, type_id: int, patterns: Iterable[Pattern]) -> bool:
        """Whether ``name`` may read all topics of a contract that match all of these patterns."""
        asked = tuple(patterns)
        return any(
            entry.type_id == type_id and any(entry.pattern.covers(pattern) for pattern in asked)
            for entry in self.rights(name).subscribes
        )

    def may_subscribe(self, name: str, prefix: bytes) -> bool:
        """Whether everything that begins with ``prefix`` is for ``name``, as far as :meth:`leaks` found nothing."""
        return any(prefix.startswith(entry.pattern.prefix) for entry in self.rights(name).subscribes)

    def leaks(self, contracts: Iterable[Entry]) -> Iterator[tuple[str, Entry, Entry]]:
        """Where a prefix is too coarse to keep something from a reader.

        Args:
            contracts: all topics that are used, by contract.

        Yields:
            Who would get it, the entry whose prefix lets it through, and what it would get.
        """
        used = tuple(contracts)
        for name, rights in self._rights.items():
            for entry in rights.subscribes:
                for contract in used:
                    let_through = _beginning_with(entry.pattern, contract)
                    if let_through is not None and not self.may_join(name, contract.type_id, [let_through.pattern]):
                        yield name, entry, let_through


def _beginning_with(pattern: Pattern, contract: Entry) -> Entry | None:
    """Of a contract's topics those that begin with the prefix of a pattern; None if there are none."""
    wild = next((index for index, token in enumerate(pattern.tokens) if token in ("*", ">")), len(pattern.tokens))
    literal = pattern.tokens[:wild]
    through = Pattern.parse(".".join((*literal, ">"))) if wild < len(pattern.tokens) else pattern
    if not through.overlaps(contract.pattern):
        return None
    # A contract whose ">" stands among what is literal in the prefix has anything behind it.
    rest = contract.pattern.tokens[wild:] or through.tokens[wild:]
    return Entry(contract.type_id, Pattern.parse(".".join((*literal, *rest))))
