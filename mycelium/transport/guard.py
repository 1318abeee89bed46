"""Judges what a store with keys is told: who says it, and whether that is theirs to say.

The authentication gives each connection a *user*: the name of a service or operator, and the fingerprint of the key
that it came with. So a connection whose key has been revoked gets nowhere, although it is still there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from mycelium.core.access import Access
from mycelium.core.delivery.control import (
    PROBE_TOPIC,
    Alive,
    Announce,
    AskBooks,
    AskMarks,
    AskWho,
    FromClient,
    Join,
    Leave,
    Report,
    tick_topic,
)
from mycelium.core.envelope import source_id
from mycelium.core.errors import AccessError
from mycelium.transport.holdings import parsed_patterns

T = TypeVar("T")

MAX_VERDICTS = 50_000
"""Verdicts that are remembered. Beyond it all are forgotten: they are found again."""

NOT_PUBLISHED = "not its topic to publish"
NOT_READ = "not its topic to read"
FOREIGN_NAME = "another service's name"
NO_OPERATOR = "for operators only"
REVOKED = "key revoked"
NOT_GRANTED = "subscription not granted"

_HEX = frozenset(b"0123456789abcdef")


def user_of(name: str, key_fingerprint: str) -> str:
    """The user that stands for a key of a service."""
    return f"{name}#{key_fingerprint}"


def name_of(user: str) -> str:
    """The name of a user: of the service, or of the operator."""
    return user.partition("#")[0]


class Guard:
    """The access list, and the keys that are accepted.

    Args:
        access: who may do what.
        users: of all accepted keys.
    """

    def __init__(self, access: Access, users: Collection[str]) -> None:
        self._access = access
        self._users = frozenset(users)
        self._verdicts: dict[tuple[str, int, int, str], str | None] = {}
        self._readable: dict[tuple[str, int, str], bool] = {}

    def renew(self, access: Access, users: Collection[str]) -> frozenset[str]:
        """Judge by other rules and keys from now on.

        Returns:
            The users that were accepted and are not any more.
        """
        gone = self._users - frozenset(users)
        self._access, self._users = access, frozenset(users)
        self._verdicts.clear()
        self._readable.clear()
        return gone

    @property
    def access(self) -> Access:
        """Who may do what."""
        return self._access

    def is_accepted(self, user: str) -> bool:
        """Whether the key of a connection is accepted."""
        return user in self._users

    # --- publishing --------------------------------------------------------------------------

    def why_not_publish(self, user: str, source: int, type_id: int, topic: str) -> str | None:
        """Why a frame is refused; None if it is not."""
        asked = (user, source, type_id, topic)
        try:
            return self._verdicts[asked]
        except KeyError:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[asked] = self._judge(user, source, type_id, topic)
            return verdict

    def _judge(self, user: str, source: int, type_id: int, topic: str) -> str | None:
        name = name_of(user)
        if user not in self._users:
            return REVOKED
        if source != source_id(name):
            return FOREIGN_NAME
        return None if self._access.may_publish(name, type_id, topic) else NOT_PUBLISHED

    # --- reading -----------------------------------------------------------------------------

    def may_read(self, name: str, type_id: int, topic: str) -> bool:
        """Whether messages of a contract on a topic are for ``name``."""
        asked = (name, type_id, topic)
        verdict = self._readable.get(asked)
        if verdict is None:
            if len(self._readable) >= MAX_VERDICTS:
                self._readable.clear()
            verdict = self._readable[asked] = self._access.may_read(name, type_id, topic)
        return verdict

    def may_subscribe(self, user: str, prefix: bytes) -> bool:
        """Whether a prefix is granted: of what the user may read, its own ticks, and one probe."""
        if user not in self._users:
            return False
        name = name_of(user)
        if prefix.startswith(PROBE_TOPIC.encode()):
            number = prefix[len(PROBE_TOPIC) :]
            return number[-1:] == b"\0" and len(number) > 1 and _HEX.issuperset(number[:-1])
        return prefix == tick_topic(name).encode() + b"\0" or self._access.may_subscribe(name, prefix)

    # --- asking ------------------------------------------------------------------------------

    def judged(self, user: str, said: FromClient) -> FromClient:
        """What a client may say, with the names of its readers made its own.

        Raises:
            AccessError: it may not say that.
            WireError: a pattern is not grammatical.
        """
        if user not in self._users:
            raise AccessError(REVOKED, name_of(user))
        name = name_of(user)
        match said:
            case Alive(names=names) if set(names) - {name}:
                raise AccessError(FOREIGN_NAME, ", ".join(sorted(set(names) - {name})))
            case Announce(stream=stream) if stream.source != source_id(name):
                raise AccessError(FOREIGN_NAME, f"{stream.source:016x}")
            case Join() | AskMarks() if not self._access.may_join(name, said.type_id, parsed_patterns(said.patterns)):
                raise AccessError(NOT_READ, f"{' and '.join(said.patterns)} of type id {said.type_id}")
            case AskBooks() | AskWho() if not self._access.rights(name).is_operator:
                raise AccessError(NO_OPERATOR, "the books" if isinstance(said, AskBooks) else "who is there")
        if isinstance(said, Join | Report | Leave):
            return msgspec.structs.replace(said, name=own_name(name, said.name))
        return said


def own_name(service: str, reader: str) -> str:
    """The name under which a store knows a service's reader: another service's readers have other names."""
    return reader if reader.startswith((f"{service}.", f"{service}:")) else f"{service}/{reader}"


def without(users: Iterable[str], name: str) -> list[str]:
    """The users of one name."""
    return [user for user in users if name_of(user) == name]
