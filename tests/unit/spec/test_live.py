"""What a running system's stores say, held to the spec: each kind of difference is named once."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mycelium.core.delivery.control import ClientEntry, Offence, ReaderEntry, StreamBook
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import source_id
from mycelium.spec.live import StoreView, check_live, strangers
from mycelium.spec.model import SystemSpec
from mycelium.transport.books import StoreBooks, StoreClients

SPEC = SystemSpec.model_validate(
    {
        "system": "s",
        "contracts": {
            "Tick": {"class": "m:Tick", "type_id": 1, "topic": "ticks.{venue}", "fields": {"venue": "str"}},
            "Order": {"class": "m:Order", "type_id": 2, "topic": "orders.{venue}", "fields": {"venue": "str"}},
        },
        "services": {
            name: {
                "class": "m:S",
                "restart": "always",
                "depends_on": [],
                "publishes": publishes,
                "subscribes": subscribes,
            }
            for name, publishes, subscribes in (
                ("feeder", ["Tick"], []),
                ("trader", ["Order"], ["Tick"]),
                ("clearing", [], [{"contract": "Order", "pattern": "orders.x"}]),
            )
        },
        "operators": {"ledger": {"asks": ["books"]}, "tap": {"subscribes": ["Tick"]}},
    }
)
PLACED = ("feeder", "trader", "clearing")

TICKS = ReaderEntry("trader.on_tick", 1, ("ticks.*", "ticks.*"))
ORDERS = ReaderEntry("clearing.on_order", 2, ("orders.x", "orders.*"))


def client(name: str, *readers: ReaderEntry, guarded: bool = True, names: tuple[str, ...] | None = None) -> ClientEntry:
    return ClientEntry(name if guarded else "", (name,) if names is None else names, readers)


def all_well(*, guarded: bool = True) -> list[ClientEntry]:
    return [
        client("feeder", guarded=guarded),
        client("trader", TICKS, guarded=guarded),
        client("clearing", ORDERS, guarded=guarded),
    ]


def view(
    clients: Iterable[ClientEntry],
    *,
    guarded: bool = True,
    streams: Iterable[tuple[str, int, str]] = (),
    offences: Iterable[Offence] = (),
    absent: Iterable[str] = (),
    store: str = "broker",
) -> StoreView:
    books = tuple(
        StreamBook(StreamKey(source_id(source), epoch, topic), type_id, 1, 9, {})
        for epoch, (source, type_id, topic) in enumerate(streams)
    )
    names = {source_id(name): name for name in (*PLACED, "stranger")}
    return StoreView(
        StoreClients(store, tuple(clients), guarded),
        StoreBooks(store, books, {}, names, tuple(offences)),
        frozenset(absent),
    )


def said(*views: StoreView, placed: Iterable[str] = PLACED) -> list[str]:
    return [str(problem) for problem in check_live(SPEC, placed, views)]


GUARDED = pytest.mark.parametrize("guarded", [True, False], ids=["with keys", "without"])


@GUARDED
def test_a_system_as_it_should_be(guarded: bool) -> None:
    streams = [("feeder", 1, "ticks.x"), ("feeder", 1, "ticks.y"), ("trader", 2, "orders.x"), ("feeder", 0, "gone.x")]
    dead = [("trader", 65281, "_sys.dead.trader.on_tick")]
    assert said(view(all_well(guarded=guarded), guarded=guarded, streams=streams + dead)) == []


@GUARDED
def test_a_service_that_is_not_there_is_named_once(guarded: bool) -> None:
    """And not what it does not read either."""
    clients = [one for one in all_well(guarded=guarded) if TICKS not in one.readers]
    assert said(view(clients, guarded=guarded)) == ["broker: trader: is not there; a bundle has it"]


@GUARDED
def test_a_service_that_is_there_and_does_not_read(guarded: bool) -> None:
    clients = all_well(guarded=guarded)
    clients[1] = client("trader", guarded=guarded)
    assert said(view(clients, guarded=guarded)) == [
        "broker: trader: does not read Tick on ticks.*, as system.yaml says"
    ]


@GUARDED
def test_a_service_that_reads_more_than_it_declares(guarded: bool) -> None:
    clients = all_well(guarded=guarded)
    clients[2] = client("clearing", ORDERS, ReaderEntry("clearing.more", 2, ("orders.*", "orders.*")), guarded=guarded)
    assert said(view(clients, guarded=guarded)) == [
        "broker: clearing: reads Order on orders.* as 'clearing.more'; system.yaml lets it read Order on orders.x"
    ]


@GUARDED
def test_a_service_that_reads_less_than_it_declares(guarded: bool) -> None:
    clients = all_well(guarded=guarded)
    clients[1] = client("trader", ReaderEntry("trader.on_tick", 1, ("ticks.x", "ticks.*")), guarded=guarded)
    assert said(view(clients, guarded=guarded)) == [
        "broker: trader: does not read Tick on ticks.*, as system.yaml says"
    ]


@GUARDED
def test_a_subscription_that_shares_some_topics_with_the_contract(guarded: bool) -> None:
    """Neither covers the other."""
    table = SPEC.model_dump(by_alias=True)
    table["services"]["clearing"]["subscribes"] = [{"contract": "Order", "pattern": "*.x"}]
    spec = SystemSpec.model_validate(table)
    clients = all_well(guarded=guarded)
    for pattern, expected in (("*.x", []), ("orders.y", ["clearing: does not read Order on *.x, as system.yaml says"])):
        reader = ReaderEntry("clearing.on_order", 2, (pattern, "orders.*"))
        clients[2] = client("clearing", reader, guarded=guarded)
        found = check_live(spec, PLACED, [view(clients, guarded=guarded)])
        assert [
            str(problem).removeprefix("broker: ") for problem in found if "does not read" in problem.message
        ] == expected


@GUARDED
def test_a_service_that_may_read_nothing(guarded: bool) -> None:
    clients = all_well(guarded=guarded)
    reader = ReaderEntry("feeder:unknown", 7, ("secrets.*", "secrets.*"))
    clients[0] = client("feeder", reader, guarded=guarded)
    assert said(view(clients, guarded=guarded)) == [
        "broker: feeder: reads type id 7 on secrets.* as 'feeder:unknown'; system.yaml lets it read nothing"
    ]


@GUARDED
def test_one_service_in_several_processes(guarded: bool) -> None:
    assert said(view([*all_well(guarded=guarded), client("trader", TICKS, guarded=guarded)], guarded=guarded)) == []


@GUARDED
def test_somebody_who_is_not_placed(guarded: bool) -> None:
    strangers = client("stranger", guarded=guarded)
    expected = ["broker: stranger: is there and publishes or reads; no such service is placed"]
    assert said(view([*all_well(guarded=guarded), strangers], guarded=guarded)) == expected
    # A service of system.yaml that this topology does not have is one, too.
    assert said(view(all_well(guarded=guarded), guarded=guarded), placed=("feeder", "trader")) == [
        "broker: clearing: is there and publishes or reads; no such service is placed"
    ]


def test_operators_come_and_go() -> None:
    tools = [client("ledger", names=()), client("tap", ReaderEntry("tap", 1, ("ticks.*", "ticks.*")), names=())]
    assert said(view([*all_well(), *tools])) == []
    # Without keys anybody can call itself so.
    assert said(view([*all_well(guarded=False), client("ledger", guarded=False)], guarded=False)) == [
        "broker: ledger: is there and publishes or reads; no such service is placed"
    ]


def test_an_operator_that_reads_more_than_it_declares() -> None:
    tool = client("ledger", ReaderEntry("ledger:ticks.*", 1, ("ticks.*", "ticks.*")), names=())
    assert said(view([*all_well(), tool])) == [
        "broker: ledger: reads Tick on ticks.* as 'ledger:ticks.*'; system.yaml lets it read nothing"
    ]


def test_a_tool_without_a_name_is_nobody() -> None:
    """As those who ask for the books are at a store without keys."""
    assert said(view([*all_well(guarded=False), ClientEntry("", (), ())], guarded=False)) == []


def test_without_keys_a_reader_belongs_to_whom_its_name_says_if_that_one_is_there() -> None:
    clients = all_well(guarded=False)
    clients[0] = client("feeder", TICKS, guarded=False)
    assert said(view(clients, guarded=False)) == [
        "broker: somebody without a name: reads Tick on ticks.* as 'trader.on_tick'; system.yaml lets it read nothing"
    ]
    both = client("", TICKS, ORDERS, guarded=False, names=("trader", "clearing"))
    assert said(view([client("feeder", guarded=False), both], guarded=False)) == [], "two of one bundle"


def test_with_keys_it_belongs_to_whose_connection_it_is() -> None:
    clients = all_well()
    clients[0] = client("feeder", ReaderEntry("trader.on_tick", 1, ("ticks.*", "ticks.*")))
    assert said(view(clients)) == [
        "broker: feeder: reads Tick on ticks.* as 'trader.on_tick'; system.yaml lets it read nothing"
    ]


@GUARDED
def test_what_was_published_that_may_not_be_is_named_once_for_all_incarnations(guarded: bool) -> None:
    streams = [
        ("feeder", 2, "orders.x"),
        ("feeder", 2, "orders.x"),
        ("feeder", 1, "market.x"),
        ("stranger", 1, "ticks.x"),
        ("trader", 65281, "_sys.dead.feeder.on_tick"),
        ("nobody", 7, "x"),
    ]
    found = said(view(all_well(guarded=guarded), guarded=guarded, streams=streams))
    assert found == [
        f"broker: {who} = 9: has published {what}; it may not, or not there, by system.yaml"
        for who, what in (
            ("feeder", "Order on orders.x"),
            ("feeder", "Tick on market.x"),
            ("stranger", "Tick on ticks.x"),
            ("trader", "DeadLetter on _sys.dead.feeder.on_tick"),
            (f"source {source_id('nobody'):016x}", "type id 7 on x"),
        )
    ]


def test_each_refusal_is_told() -> None:
    offences = [
        Offence("feeder", "not its topic to publish", "orders.x of type id 2", 1_234),
        Offence("10.0.0.9", "unknown key", "", 2),
        Offence("2001:db8::1", "unknown key", "", 1),
    ]
    there = view(all_well(), offences=offences)
    assert said(there) == ["broker: feeder: was refused 1,234 times: not its topic to publish: orders.x of type id 2"]
    # An address changes nothing of the system.
    assert [str(problem) for problem in strangers([there])] == [
        "broker: 10.0.0.9: was refused 2 times: unknown key",
        "broker: 2001:db8::1: was refused once: unknown key",
    ]


# --- bundles, each with a store of its own -------------------------------------------------------


def bundles() -> list[StoreView]:
    """The first has feeder and trader, the second clearing; each reads at the other's store."""
    first = client("", TICKS, guarded=False, names=("feeder", "trader"))
    second = client("", ORDERS, guarded=False, names=("clearing",))
    return [
        view([second], guarded=False, store="first", absent=("feeder", "trader"), streams=[("trader", 2, "orders.x")]),
        view([first], guarded=False, store="second", absent=("clearing",)),
    ]


def test_bundles_as_they_should_be() -> None:
    assert said(*bundles()) == []


def test_those_whose_own_store_it_is_are_not_missed_there_and_not_strange_either() -> None:
    first, second = bundles()
    own = client("", guarded=False, names=("feeder", "trader"))
    with_own = StoreView(
        StoreClients("first", (*first.clients.clients, own), is_guarded=False), first.books, first.absent
    )
    assert said(with_own, second) == []


def test_a_bundle_that_is_gone_is_missed_at_the_others_store() -> None:
    first, second = bundles()
    gone = StoreView(StoreClients("second", (), is_guarded=False), second.books, second.absent)
    assert said(first, gone) == [
        "second: feeder: is not there; a bundle has it",
        "second: trader: is not there; a bundle has it",
    ]


def test_a_stranger_at_one_store_is_named_there() -> None:
    first, second = bundles()
    strange = view(
        [*second.clients.clients, client("stranger", guarded=False)],
        guarded=False,
        store="second",
        absent=("clearing",),
    )
    assert said(first, strange) == ["second: stranger: is there and publishes or reads; no such service is placed"]
