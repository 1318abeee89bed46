"""What a store and the members of a group say to one another, as part of :mod:`mycelium.core.delivery.control`.

A store tells by itself which streams a member gets (:class:`Assign`), and which it is to let go of
(:class:`Revoke`), until it is answered: by :class:`Progress` and :class:`Released`. Which and when is decided by
:class:`~mycelium.core.delivery.groups.GroupState`.
"""

from __future__ import annotations

import msgspec

from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.joining import Place


class _Said(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=str.lower):
    pass


class Share(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A stream that a member gets.

    Args:
        place: where it begins.
        generation: of its time with the stream.
    """

    place: Place
    generation: int


class Assign(_Said, frozen=True):
    """A member gets streams."""

    reader: int
    shares: tuple[Share, ...]


class Revoke(_Said, frozen=True):
    """A member is to let go of streams, each in a generation, and to say when it has."""

    reader: int
    streams: tuple[tuple[StreamKey, int], ...]


class Tenure(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How far a member has come with a stream since it has got it.

    Args:
        stream: which.
        generation: in which it got it.
        account: from where it got it on.
    """

    stream: StreamKey
    generation: int
    account: Account


class Progress(_Said, frozen=True):
    """How far a member is with the streams in which it has got on, and with new ones.

    Args:
        reader: its number at the client.
        serial: comes back in :class:`~mycelium.core.delivery.control.Reported`.
        tenures: the streams.
    """

    reader: int
    serial: int
    tenures: tuple[Tenure, ...]


class Released(_Said, frozen=True):
    """A member has let go of streams, and how far it has come with them."""

    reader: int
    tenures: tuple[Tenure, ...]
