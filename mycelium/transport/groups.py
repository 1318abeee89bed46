"""The groups of one store: what members say goes into the states of their groups, what is decided goes to members.

Which member gets what is the matter of :class:`~mycelium.core.delivery.groups.GroupState`. Here accounts are stored
under the group's name, so that the group can stop as a whole and come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from mycelium.core.delivery.control import FromStore, Join, Mark, Marks, Reported
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.groups import RETRY_NS, Give, GroupAction, GroupState, MemberId
from mycelium.core.delivery.joining import Place
from mycelium.core.delivery.sharing import Assign, Progress, Released, Revoke, Share, Tenure
from mycelium.core.errors import WireError
from mycelium.transport.holdings import Holdings, parsed_patterns

SHARES = 500
"""Streams in one message to a member: with the longest topics it stays far below what a socket takes."""

Due = tuple[MemberId, FromStore]
"""To whom, and what."""


class Groups:
    """All groups of one store. What is to be said to members waits until it is :meth:`taken <due>`.

    Args:
        holdings: what the store has.
        instance: of the store: the generations of this life begin beyond it, and so beyond those of its former lives.
        time_ns: the time.
    """

    def __init__(self, holdings: Holdings, instance: int, time_ns: Callable[[], int]) -> None:
        self._holdings = holdings
        self._time_ns = time_ns
        self._generations = itertools.count(instance + 1)
        self._groups: dict[str, GroupState] = {}
        self._names: dict[MemberId, str] = {}
        self._asked_ns = 0
        self._due: list[tuple[MemberId, FromStore]] = []

    # --- members -----------------------------------------------------------------------------

    def join(self, member: MemberId, said: Join) -> None:
        """A member joins, or says again that it is there.

        Raises:
            WireError: a pattern is not grammatical, or the name is no name.
        """
        if member in self._names:
            return
        state = self._groups.get(said.name) or GroupState(self._generations)
        accounts = self._holdings.accounts(said.name)
        places = self._holdings.places(said, accounts, returns=self._holdings.knows(said.name))
        begun = {
            found.stream: Account(found.begin - 1, found.begin - 1, 0, {})
            for found in places
            if found.stream not in accounts and found.stream not in state
        }
        # Where the group begins is part of what it must find when it comes back.
        self._holdings.store(said.name, begun)
        accounts |= begun
        now = self._time_ns()
        self._groups[said.name] = state
        self._names[member] = said.name
        for found in places:
            if found.stream not in state:
                self._decided(state.advance(found.stream, found.last, now, accounts[found.stream]))
        self._decided(state.join(member, self._wants(said), said.patience_ns, now))

    def _wants(self, said: Join) -> Callable[[StreamKey], bool]:
        type_id, patterns = said.type_id, parsed_patterns(said.patterns)
        return lambda stream: (
            self._holdings.type_of(stream) in (type_id, 0)
            and all(pattern.matches(stream.topic) for pattern in patterns)
        )

    def leave(self, member: MemberId) -> None:
        """A member has left, or is gone."""
        name = self._names.pop(member, None)
        if name is None:
            return
        state = self._groups[name]
        self._decided(state.leave(member, self._time_ns()))
        if not state.members:
            del self._groups[name]

    def progress(self, member: MemberId, said: Progress) -> None:
        """A member says how far it is.

        Raises:
            WireError: it says something impossible.
        """
        if self._said(member, said.tenures, GroupState.report):
            self._due.append((member, Reported(member.reader, said.serial)))

    def released(self, member: MemberId, said: Released) -> None:
        """A member has let go of streams.

        Raises:
            WireError: it says something impossible.
        """
        self._said(member, said.tenures, GroupState.released)

    def _said(
        self,
        member: MemberId,
        tenures: tuple[Tenure, ...],
        tell: Callable[[GroupState, MemberId, StreamKey, int, Account, int], list[GroupAction]],
    ) -> bool:
        """Tell the member's group; False if what it says could not be stored."""
        name = self._names.get(member)
        if name is None:
            # It was gone, as far as we knew: it joins again by itself, but must not go on.
            streams = tuple((tenure.stream, tenure.generation) for tenure in tenures)
            self._due.append((member, Revoke(member.reader, streams)))
            return False
        state, now = self._groups[name], self._time_ns()
        for tenure in tenures:
            extent = self._holdings.extent(tenure.stream)
            if extent is not None and tenure.account.cursor > extent.last:
                raise WireError(
                    f"group {name!r} is done with {tenure.account.cursor} of {tenure.stream.topic}, "
                    f"which reaches to {extent.last}"
                )
            self._decided(tell(state, member, tenure.stream, tenure.generation, tenure.account, now))
        accounts = {tenure.stream: state.account(tenure.stream) for tenure in tenures}
        return self._holdings.store(name, {stream: account for stream, account in accounts.items() if account})

    # --- streams and time --------------------------------------------------------------------

    def begun(self, stream: StreamKey) -> None:
        """A stream has begun, or goes on after a while."""
        for state in self._groups.values():
            extent = None if stream in state else self._holdings.extent(stream)
            if extent is not None and state.is_wanted(stream):
                self._decided(state.advance(stream, extent.last, self._time_ns()))

    def advance(self, marks: Iterable[Mark]) -> None:
        """Streams have got on."""
        now = self._time_ns()
        for mark in marks:
            for state in self._groups.values():
                if mark.stream in state:
                    self._decided(state.advance(mark.stream, mark.last, now))

    def pass_time(self) -> None:
        """Time has passed."""
        now = self._time_ns()
        for state in self._groups.values():
            gone = [stream for stream in state.accounts if self._holdings.extent(stream) is None]
            self._decided(state.forget(gone))
            self._decided(state.pass_time(now))
        if now - self._asked_ns >= RETRY_NS:
            # Says nothing. That it cannot be said is how a member shows whose process has ended.
            self._asked_ns = now
            self._due += [(member, Marks(member.reader, 0, ())) for member in self._names]

    def accounts(self) -> dict[str, Mapping[StreamKey, Account]]:
        """The accounts of the groups that are there, by their name."""
        return {name: state.accounts for name, state in self._groups.items()}

    def all_done(self) -> bool:
        """Whether every group is done with everything that its members want."""
        return all(
            extent is None or extent.last <= account.cursor
            for state in self._groups.values()
            for stream, account in state.accounts.items()
            for extent in [self._holdings.extent(stream)]
        )

    # --- what is to be said ------------------------------------------------------------------

    def due(self) -> list[Due]:
        """Take what is to be said to members."""
        due, self._due = self._due, []
        return due

    def _decided(self, actions: list[GroupAction]) -> None:
        for number in range(0, len(actions), SHARES):
            shares: dict[MemberId, list[Share]] = {}
            taken: dict[MemberId, list[tuple[StreamKey, int]]] = {}
            for action in actions[number : number + SHARES]:
                if isinstance(action, Give):
                    shares.setdefault(action.member, []).append(self._share(action))
                else:
                    taken.setdefault(action.member, []).append((action.stream, action.generation))
            self._due += [(member, Revoke(member.reader, tuple(streams))) for member, streams in taken.items()]
            self._due += [(member, Assign(member.reader, tuple(given))) for member, given in shares.items()]

    def _share(self, given: Give) -> Share:
        mark = self._holdings.mark(given.stream)
        return Share(Place(given.stream, mark.first, mark.last, given.cursor + 1), given.generation)
