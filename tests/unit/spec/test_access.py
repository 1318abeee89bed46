"""The access list that follows from a spec, and what a broker could not keep apart by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mycelium.core.access import Entry
from mycelium.core.errors import ConfigError
from mycelium.core.message import contract_of
from mycelium.core.topics import Pattern
from mycelium.core.unbooked import UNBOOKED
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service.dead_letters import DeadLetter
from mycelium.spec.access import access_of, check_access
from mycelium.spec.check import check_spec, check_topology
from mycelium.spec.code import SystemCode
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import load_topology
from tests.conftest import REPOSITORY

DEAD = contract_of(DeadLetter).type_id
STATISTICS = contract_of(ProcessStatistics).type_id

TOPICS = {"Tick": "ticks.{venue}.{name}", "Order": "orders.{venue}", "Audit": "audit.{kind}.log"}
"""Type ids 1, 2 and 3."""


def spec_of(
    services: dict[str, dict[str, Any]], operators: dict[str, Any] | None = None, topics: dict[str, str] = TOPICS
) -> SystemSpec:
    return SystemSpec.model_validate(
        {
            "system": "s",
            "contracts": {
                name: {"class": f"m:{name}", "type_id": number, "topic": topic, "fields": {"x": "str"}}
                for number, (name, topic) in enumerate(topics.items(), 1)
            },
            "services": {
                name: {"class": "m:S", "publishes": [], "subscribes": [], "restart": "always", "depends_on": [], **said}
                for name, said in services.items()
            },
            "operators": operators or {},
        }
    )


def entry(type_id: int, pattern: str) -> Entry:
    return Entry(type_id, Pattern.parse(pattern))


def leaks(spec: SystemSpec) -> list[str]:
    return [str(problem).removeprefix("system.yaml: ") for problem in check_access(spec, "system.yaml")]


# --- the list ------------------------------------------------------------------------------------


def test_a_service_may_publish_what_it_declares_on_all_topics_of_the_contract() -> None:
    access = access_of(spec_of({"feeder": {"publishes": ["Tick", "Order"]}}))
    rights = access.rights("feeder")
    assert rights.publishes == (entry(1, "ticks.*.*"), entry(2, "orders.*"), entry(STATISTICS, "_sys.stats.*"))
    assert rights.subscribes == ()
    assert not rights.is_operator
    assert access.may_publish("feeder", 1, "ticks.x.y")
    for type_id, topic in ((2, "ticks.x.y"), (1, "orders.x"), (3, "audit.x.log"), (1, "ticks.x")):
        assert not access.may_publish("feeder", type_id, topic)
    assert not access.may_publish("another", 1, "ticks.x.y")


def test_a_service_may_read_what_it_declares_without_and_with_a_pattern() -> None:
    subscribes = ["Order", {"contract": "Tick", "pattern": "ticks.kraken.*"}]
    access = access_of(spec_of({"trader": {"subscribes": subscribes}}))
    assert access.rights("trader").subscribes == (entry(2, "orders.*"), entry(1, "ticks.kraken.*"))
    assert access.may_read("trader", 1, "ticks.kraken.x")
    assert not access.may_read("trader", 1, "ticks.binance.x")
    assert not access.may_publish("trader", 2, "orders.x"), "to read is not to publish"


@pytest.mark.parametrize(
    ("pattern", "narrower"),
    [
        (">", "ticks.*.*"),
        ("ticks.>", "ticks.*.*"),
        ("ticks.*.*", "ticks.*.*"),
        ("*.a.b", "*.a.b"),
        ("ticks.a.>", "ticks.a.>"),
    ],
)
def test_of_pattern_and_contract_the_narrower_one_counts(pattern: str, narrower: str) -> None:
    """It is what a reader subscribes with: a pattern that covers the contract gives no more than the contract."""
    spec = spec_of({"trader": {"subscribes": [{"contract": "Tick", "pattern": pattern}]}})
    assert access_of(spec).rights("trader").subscribes == (entry(1, narrower),)


def test_who_has_handlers_may_publish_dead_letters_of_its_own_and_of_nobody_else() -> None:
    services = {"feeder": {"publishes": ["Tick"]}, "trader": {"subscribes": ["Tick"]}}
    access = access_of(spec_of(services))
    assert access.rights("trader").publishes == (entry(DEAD, "_sys.dead.trader.*"), entry(STATISTICS, "_sys.stats.*"))
    assert access.may_publish("trader", DEAD, "_sys.dead.trader.on_tick")
    assert not access.may_publish("trader", DEAD, "_sys.dead.feeder.on_tick")
    assert not access.may_publish("trader", DEAD, "_sys.dead.trader.on_tick.more")
    assert not access.may_publish("trader", 1, "_sys.dead.trader.on_tick")
    assert not access.may_publish("feeder", DEAD, "_sys.dead.feeder.on_tick"), "it has no handlers"


def test_every_service_may_say_what_its_process_does_and_nothing_else_there() -> None:
    access = access_of(spec_of({"feeder": {"publishes": ["Tick"]}, "idle": {}}, {"top": {"subscribes": ["Tick"]}}))
    for name in ("feeder", "idle"):
        assert access.may_publish(name, STATISTICS, "_sys.stats.any")
        assert not access.may_publish(name, STATISTICS, "_sys.stats.any.more")
        assert not access.may_publish(name, STATISTICS, "_sys.dead.idle.h")
        assert not access.may_publish(name, DEAD, "_sys.stats.any")
    assert not access.may_publish("top", STATISTICS, "_sys.stats.any"), "an operator publishes nothing"


def test_statistics_are_read_by_whoever_says_so() -> None:
    services = {"dashboard": {"subscribes": ["ProcessStatistics"]}, "none": {"subscribes": ["DeadLetter"]}}
    access = access_of(spec_of(services, {"top": {"subscribes": ["ProcessStatistics"]}}))
    reads = [access.may_read(name, STATISTICS, "_sys.stats.market") for name in ("dashboard", "top", "none")]
    assert reads == [True, True, False]
    assert leaks(spec_of(services)) == []


def test_statistics_are_what_is_in_no_books() -> None:
    assert {STATISTICS} == UNBOOKED


def test_dead_letters_are_read_by_whoever_says_so() -> None:
    some = {"contract": "DeadLetter", "pattern": "_sys.dead.trader.*"}
    access = access_of(
        spec_of(
            {"all": {"subscribes": ["DeadLetter"]}, "some": {"subscribes": [some]}, "none": {"subscribes": ["Tick"]}}
        )
    )
    assert access.rights("all").subscribes == (entry(DEAD, "_sys.dead.*.*"),)
    reads = [
        access.may_read(name, DEAD, f"_sys.dead.{of}.h") for name in ("all", "some", "none") for of in ("trader", "x")
    ]
    assert reads == [True, True, True, False, False, False]


def test_an_operator_reads_and_asks_what_it_declares_and_publishes_nothing() -> None:
    operators = {"ledger": {"asks": ["books"]}, "tap": {"subscribes": ["Tick", "DeadLetter"]}, "idle": {}}
    access = access_of(spec_of({}, operators))
    assert access.rights("ledger").is_operator
    assert access.rights("ledger").subscribes == ()
    assert access.rights("tap").subscribes == (entry(1, "ticks.*.*"), entry(DEAD, "_sys.dead.*.*"))
    assert not access.rights("tap").is_operator
    assert "idle" in access
    assert all(access.rights(name).publishes == () for name in operators)
    assert not access.may_publish("tap", DEAD, "_sys.dead.tap.h")


def test_who_is_not_named_may_do_nothing() -> None:
    access = access_of(spec_of({"trader": {"subscribes": ["Tick"]}}))
    assert "stranger" not in access
    assert not access.may_read("stranger", 1, "ticks.a.b")
    assert not access.rights("stranger").is_operator


# --- what a prefix would let through -------------------------------------------------------------


def test_a_wildcard_in_the_middle_lets_through_what_differs_behind_it() -> None:
    (said,) = leaks(spec_of({"trader": {"subscribes": [{"contract": "Tick", "pattern": "ticks.*.eth"}]}}))
    assert said == (
        "services.trader.subscribes = 'Tick on ticks.*.eth': is filtered by the prefix 'ticks.', with which Tick on "
        "ticks.*.* would come too, and that is not for it; put what differs before the first wildcard, or subscribe to "
        "both"
    )


def test_two_contracts_under_one_prefix() -> None:
    topics = {"Tick": "market.{venue}.ticks", "Order": "market.{venue}.orders", "Note": "notes.{venue}"}
    (said,) = leaks(spec_of({"trader": {"subscribes": ["Tick"]}}, topics=topics))
    assert said.startswith("services.trader.subscribes = 'Tick on market.*.ticks': is filtered by the prefix 'market.'")
    assert "with which Order on market.*.orders would come too" in said
    assert leaks(spec_of({"trader": {"subscribes": ["Tick", "Order"]}}, topics=topics)) == [], "both are for it"
    exact = {"contract": "Tick", "pattern": "market.kraken.ticks"}
    assert leaks(spec_of({"trader": {"subscribes": [exact]}}, topics=topics)) == [], "no wildcard, no prefix"


def test_one_topic_of_two_contracts() -> None:
    topics = {"Tick": "market.{venue}", "Order": "market.{account}"}
    (said,) = leaks(
        spec_of({"trader": {"subscribes": [{"contract": "Tick", "pattern": "market.kraken"}]}}, topics=topics)
    )
    assert "with which Order on market.kraken would come too" in said


def test_a_prefix_of_another_topic_is_no_prefix_of_its_segments() -> None:
    topics = {"Tick": "market.{venue}", "Order": "marketing.{venue}"}
    assert leaks(spec_of({"trader": {"subscribes": ["Tick"]}}, topics=topics)) == []


def test_a_wildcard_at_the_front_lets_everything_through() -> None:
    said = leaks(spec_of({"trader": {"subscribes": [{"contract": "Order", "pattern": "*.kraken"}]}}))
    assert len(said) == 5, "its own on other topics, two other contracts, dead letters, and statistics"
    assert all("is filtered by the prefix ''" in one for one in said)
    assert sum("DeadLetter on _sys.dead.*.* would come too" in one for one in said) == 1


def test_dead_letters_of_some() -> None:
    one_handler = {"contract": "DeadLetter", "pattern": "_sys.dead.*.on_tick"}
    (said,) = leaks(spec_of({"trader": {"subscribes": [one_handler]}}))
    assert "'_sys.dead.', with which DeadLetter on _sys.dead.*.* would come too" in said
    one_service = {"contract": "DeadLetter", "pattern": "_sys.dead.feeder.*"}
    assert leaks(spec_of({"trader": {"subscribes": [one_service]}})) == []


def test_operators_are_held_to_the_same() -> None:
    (said,) = leaks(spec_of({}, {"tap": {"subscribes": [{"contract": "Tick", "pattern": "ticks.*.eth"}]}}))
    assert said.startswith("operators.tap.subscribes = 'Tick on ticks.*.eth'")


def test_each_reader_is_named_and_nobody_else() -> None:
    inner = {"subscribes": [{"contract": "Tick", "pattern": "ticks.*.eth"}]}
    said = leaks(spec_of({"one": inner, "two": {"subscribes": ["Tick"]}, "three": inner}))
    assert [one.split(" = ")[0] for one in said] == ["services.one.subscribes", "services.three.subscribes"]


def test_the_systems_own_spec_can_be_kept_apart() -> None:
    assert leaks(load_spec(REPOSITORY / "system.yaml")) == []


def test_a_topology_with_keys_is_held_to_it(tmp_path: Path) -> None:
    (tmp_path / "system.yaml").touch()
    spec = spec_of({"trader": {"subscribes": [{"contract": "Tick", "pattern": "ticks.*.eth"}]}})
    text = '[deployment]\nmode = "distributed"\n[broker]\n[[bundles]]\nname = "one"\nservices = ["trader"]\n'
    topology = tmp_path / "t.toml"
    topology.write_text(text)
    assert check_topology(spec, load_topology(topology)) == []
    topology.write_text(text + '[security]\nkeys = "keys"\n')
    (problem,) = check_topology(spec, load_topology(topology))
    assert (problem.file, problem.key) == (str(tmp_path / "system.yaml"), "services.trader.subscribes")


# --- what is wrong with operators ----------------------------------------------------------------


def write(tmp_path: Path, operators: str, service: str = "feeder") -> Path:
    path = tmp_path / "system.yaml"
    path.write_text(
        "system: s\ncontracts:\n  Tick: {class: 'm:Tick', type_id: 1, topic: 'ticks.{x}', fields: {x: str}}\n"
        f"services:\n  {service}:\n"
        "    {class: 'm:F', publishes: [Tick], subscribes: [], restart: always, depends_on: []}\n"
        f"operators:\n{operators}\n"
    )
    return path


@pytest.mark.parametrize(
    ("operators", "said"),
    [
        ("  feeder: {}", "operators.feeder: is the name of a service; each has a name and keys of its own"),
        ("  broker: {}", "operators.broker: is the name of the broker; each has a name and keys of its own"),
        ("  tap: {}\n  tap: {}", "key 'tap' stands twice"),
        ("  tap: {asks: [everything]}", "operators.tap.asks.0 = 'everything': should be 'books'"),
        ("  tap: {publishes: [Tick]}", "operators.tap.publishes: is not a known key"),
        ("  tap: {subscribes: Tick}", "operators.tap.subscribes = 'Tick': should be a valid tuple"),
    ],
)
def test_an_operator_that_makes_no_sense(tmp_path: Path, operators: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_spec(write(tmp_path, operators))
    assert said in str(caught.value)


def test_no_service_is_called_like_the_broker_whose_keys_it_would_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"services\.broker: is the name of the broker"):
        load_spec(write(tmp_path, "  tap: {}", service="broker"))


@pytest.mark.parametrize(
    ("subscribes", "said"),
    [
        ("Tock", "operators.tap.subscribes = 'Tock': is no contract of this spec; those are Tick"),
        ("{contract: Tick, pattern: tocks.>}", "operators.tap.subscribes = 'tocks.>': matches no topic of Tick"),
        ("{contract: Tick, pattern: ticks.>.x}", "operators.tap.subscribes: 'ticks.>.x': '>' stands for the rest"),
        ("{contract: DeadLetter, pattern: ticks.x}", "'ticks.x': matches no topic of DeadLetter"),
    ],
)
def test_what_an_operator_may_not_read(tmp_path: Path, subscribes: str, said: str) -> None:
    spec = load_spec(write(tmp_path, f"  tap: {{subscribes: [{subscribes}]}}"))
    problems = [str(problem) for problem in check_spec(spec, SystemCode({}, {}, ()), "system.yaml")]
    assert sum(said in problem for problem in problems) == 1, problems


def test_an_operator_who_reads_is_not_a_reader_without_whom_a_contract_is_useless(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, "  tap: {subscribes: [Tick]}"))
    problems = [str(problem) for problem in check_spec(spec, SystemCode({}, {}, ()), "system.yaml")]
    assert problems == ["system.yaml: contracts.Tick: no service subscribes to it"]
