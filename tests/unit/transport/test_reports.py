"""How a reader tells its store how far it is: in parts, and no more before it is answered."""

from __future__ import annotations

import itertools

from mycelium.core.delivery.control import Report, Reported
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.transport.client import PATIENCE_BEATS, Client
from mycelium.transport.inlets import MAX_ROWS
from mycelium.transport.store import Store
from tests.unit.transport.stores import TYPE_ID, stream, until
from tests.unit.transport.test_client import KEY, Reading, reading, ticks


class Heard:
    """The reports that a store gets, each with the beat of the client in which it came."""

    def __init__(self, store: Store, client: Client, *, answers: bool) -> None:
        self.reports: list[tuple[int, Report]] = []
        self._client = client
        self._answers = answers
        store._on_said = self._on_said

    def _on_said(self, _peer: bytes, said: object) -> bool:
        if not isinstance(said, Report):
            return False
        self.reports.append((self._client._beats, said))
        return not self._answers


def client_of(at: Reading) -> Client:
    remote = at.bus._opened()._remote("")
    assert remote is not None
    (client,) = remote._clients
    return client


async def test_a_report_of_many_streams_is_made_in_parts() -> None:
    """One after the other, without waiting for the next beat; each account once."""
    streams = [stream(f"test.a{number}") for number in range(2 * MAX_ROWS + 7)]
    async with reading(capacity=5_000) as at:
        heard = Heard(at.store, client_of(at), answers=True)

        def told() -> list[StreamKey]:
            return [row.stream for _, report in heard.reports for row in report.rows if row.account.cursor == 1]

        at.store.keep([ticks(1, 1, of=key) for key in streams], [TYPE_ID] * len(streams))
        await at.read(len(streams))
        # The last message is in hand until the next one is asked for.
        await until(lambda: len(told()) == len(streams) - 1)
        assert len(set(told())) == len(streams) - 1
        assert max(len(report.rows) for _, report in heard.reports) == MAX_ROWS
        assert len({beat for beat, _ in heard.reports}) < len(heard.reports)
        (inlet,) = client_of(at)._inlets.values()
        await until(lambda: not inlet.unreported)


async def test_a_report_is_repeated_when_there_is_no_answer_for_long() -> None:
    """Not with every beat: a store that does not answer has enough to do."""
    async with reading() as at:
        heard = Heard(at.store, client_of(at), answers=False)
        at.store.keep((ticks(1, 1, 2, 3),), (TYPE_ID,))
        assert await at.read(3) == [1, 2, 3]
        await until(lambda: len(heard.reports) == 3)
        beats = [beat for beat, _ in heard.reports]
        assert all(after - before >= PATIENCE_BEATS for before, after in itertools.pairwise(beats))
        heard._answers = True
        await until(lambda: len(heard.reports) == 4)
        await until(lambda: not any(inlet.reported for inlet in client_of(at)._inlets.values()))


async def test_what_changes_while_a_report_is_under_way_is_in_the_next() -> None:
    async with reading() as at:
        heard = Heard(at.store, client_of(at), answers=False)
        (inlet,) = client_of(at)._inlets.values()
        at.store.keep((ticks(1, 1, 2, 3, 4),), (TYPE_ID,))
        assert await at.read(2) == [1, 2]
        await until(lambda: len(heard.reports) == 1)
        assert await at.read(2) == [3, 4]
        await until(lambda: inlet.unreported[KEY].account.cursor == 3)
        (peer,) = at.store.clerk._clients
        heard._answers = True
        at.store.say(peer, Reported(inlet.number, heard.reports[0][1].serial))
        await until(lambda: at.store.clerk.books(0).streams[0].readers == {inlet.join.name: Account(0, 3, 3, {})})
