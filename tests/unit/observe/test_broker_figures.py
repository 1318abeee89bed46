"""What a broker tells of itself, as figures."""

from __future__ import annotations

from pathlib import Path

from mycelium.core.delivery.control import Alive, Confirm, Fetch, Fetched, Joined, Report, Reported, Row
from mycelium.core.delivery.frames import Account
from mycelium.core.delivery.joining import Start
from mycelium.journal import LmdbJournal
from mycelium.observe.broker_figures import tell_broker
from mycelium.observe.figures import Figures, Labels
from tests.unit.broker.test_broker import open_broker, sending
from tests.unit.transport.stores import TYPE_ID, frame, stream
from tests.unit.transport.test_clerk import join

KEY = stream()


def told(statistics: object) -> dict[str, dict[Labels, float]]:
    figures = Figures()
    tell_broker(figures, statistics)  # type: ignore[arg-type]
    return {name.removeprefix("mycelium_"): family.values() for name, family in figures.families.items()}


async def test_what_was_kept_refused_repaired_and_is_behind(tmp_path: Path) -> None:
    async with open_broker(LmdbJournal(tmp_path / "journal"), contracts={TYPE_ID: None}) as broker:  # type: ignore[dict-item]
        async with sending(broker, "writer") as sender:
            sender.publish(frame(1, count=3).data)
            assert (await sender.control.answer(Confirm)).marks == ((KEY, 3),)
            sender.publish(frame(1, count=3).data, frame(4).data, frame(9, type_id=77).data, b"nothing")
            while (await sender.control.answer(Confirm)).marks != ((KEY, 4),):
                pass
            sender.control.say(join("durable", start=Start.EARLIEST))
            await sender.control.answer(Joined)
            sender.control.say(Report(1, "durable", 1, True, (Row(KEY, Account(0, 1, 1, {})),)))
            await sender.control.answer(Reported)
            sender.control.say(Fetch(1, KEY, 1, 1))
            await sender.control.answer(Fetched)
            found = told(broker.statistics())
        # Whoever is away is as far as it has said.
        broker.store.clerk.gone(next(iter(broker.store.clerk._clients)))
        assert told(broker.statistics())["reader_lag_messages"] == {("durable",): 3}
    assert found["ready"] == {("broker",): 1, ("journal",): 1}
    assert found["broker_messages"] == {("kept",): 4, ("passed on",): 0, ("duplicate",): 3}
    assert found["broker_refused"] == {("unknown type id",): 1, ("frame refused",): 1}
    assert found["broker_repairs"] == {(): 1}
    assert found["broker_connections"]["publish",] == 1
    assert found["broker_clients"] == {(): 1}
    assert found["reader_lag_messages"] == {("durable",): 3}
    assert found["journal_messages"] == {(): 4}
    assert found["journal_frames"] == {(): 2}
    assert found["journal_appended_frames"] == {(): 2}
    assert found["journal_streams"] == {(): 1}
    assert found["journal_readers"] == {(): 1}
    assert found["journal_full"] == {(): 0}
    assert 0 < found["journal_stored_bytes"][()] < found["journal_max_bytes"][()]
    assert found["journal_disk_free_bytes"][()] > 0


async def test_a_journal_that_is_full_or_has_failed_is_not_ready() -> None:
    async with open_broker() as broker:
        broker.is_full = True
        found = told(broker.statistics())
        assert found["ready"] == {("broker",): 1, ("journal",): 0}
        assert found["journal_full"] == {(): 1}
        assert found["journal_disk_free_bytes"] == {}
        broker.is_full = broker.is_open = False
        assert told(broker.statistics())["ready"] == {("broker",): 0, ("journal",): 1}
        broker.failed.set_exception(OSError())
        broker.failed.exception()
        assert told(broker.statistics())["ready"]["journal",] == 0


async def test_clients_are_counted() -> None:
    async with open_broker() as broker:
        broker.store.clerk.answer(b"one", Alive(("writer",)))
        assert told(broker.statistics())["broker_clients"] == {(): 1}
