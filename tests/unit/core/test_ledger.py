"""A book that balances, and each way in which one does not."""

from __future__ import annotations

from dataclasses import replace

from mycelium.core.ledger import IntakeEntry, Ledger, RouteEntry, StreamEntry, Tally

ROUTE = RouteEntry("t", "src", 1, "reader", published=10, delivered=6, dropped={"late": 2, "full": 1}, queued=1)
INTAKE = IntakeEntry("src", "file", read=9, accepted=5, ignored={"other": 3}, refused={"bad": 1})
STREAM = StreamEntry("t", "src", 1, "Tick", published=10, unread=0)


def test_balanced() -> None:
    ledger = Ledger((STREAM,), (ROUTE,), (INTAKE,))
    assert ROUTE.missing == INTAKE.missing == 0
    assert ledger.balanced


def test_one_vanished_message_is_seen() -> None:
    assert not Ledger(routes=(replace(ROUTE, delivered=5),)).balanced
    assert not Ledger(intakes=(replace(INTAKE, accepted=4),)).balanced


def test_one_repeated_message_is_seen() -> None:
    assert not Ledger(routes=(replace(ROUTE, delivered=7),)).balanced


def test_two_routes_that_are_wrong_in_opposite_ways_do_not_balance() -> None:
    assert not Ledger(routes=(replace(ROUTE, delivered=5), replace(ROUTE, delivered=7))).balanced


def test_books_add_up() -> None:
    ledger = Ledger((STREAM,), (ROUTE,)) + Ledger((replace(STREAM, type_name="Tock"), STREAM), (ROUTE,), (INTAKE,))
    assert ledger.published == {"Tick": 20, "Tock": 10}
    assert ledger.dropped == {"full": 2, "late": 4}
    assert len(ledger.intakes) == 1


def test_a_tally_freezes_a_copy() -> None:
    tally = Tally()
    tally.add("a", 2)
    frozen = tally.frozen()
    tally.add("a")
    assert (frozen, tally.counts) == ({"a": 2}, {"a": 3})
