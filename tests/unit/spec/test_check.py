"""Every way in which spec, code and topology can differ is found, with both sides named."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from mycelium.cli.main import app
from mycelium.core.errors import ConfigError
from tests.systems import SmallSystem


def check(system: SmallSystem, *, locked: bool = True) -> Result:
    if locked:
        invoke(system, "lock")
    return invoke(system, "check")


def invoke(system: SmallSystem, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["spec", command, "--spec", str(system.spec), *arguments])


def test_a_correct_system_agrees(small_system: SmallSystem) -> None:
    result = check(small_system)
    assert result.exit_code == 0, result.output
    assert "2 contracts, 2 services and 1 topologies agree with the code" in result.stdout


def test_an_undeclared_publish_names_both_sides(small_system: SmallSystem) -> None:
    small_system.change(small_system.services, "publishes = (Ping,)", "publishes = (Ping, Pong)")
    result = check(small_system)
    assert result.exit_code == 1
    assert (
        f"system.yaml: services.pinger.publishes: does not have Pong, "
        f"which {small_system.package}.services.Pinger declares in publishes"
    ) in result.stderr.replace(str(small_system.root) + "/", "")


def test_a_changed_contract_field_names_both_sides(small_system: SmallSystem) -> None:
    assert check(small_system).exit_code == 0
    small_system.forget()
    small_system.change(small_system.contracts, "lane: str\n    number: int\n\n", "lane: str\n    number: str\n\n")
    result = check(small_system, locked=False)
    assert result.exit_code == 1
    assert (
        f"contracts.Ping.fields.number = 'int': {small_system.package}.contracts.Ping says number: str" in result.stderr
    )
    assert "system.lock: contracts.Ping.fields.1 = 'number: int': the code says 'number: str'" in result.stderr


def test_dead_letters_can_be_read_like_any_contract(small_system: SmallSystem) -> None:
    small_system.change(
        small_system.services, "import Ping, Pong", "import Ping, Pong\nfrom mycelium import DeadLetter"
    )
    small_system.change(
        small_system.services,
        "    @handles(Ping)",
        '    @handles(DeadLetter, "_sys.dead.pinger.*")\n    async def on_dead(self, _): ...\n\n    @handles(Ping)',
    )
    complaint = "does not have DeadLetter on _sys.dead.pinger.*"
    assert complaint in check(small_system).stderr
    small_system.change(
        small_system.spec,
        "subscribes: [Ping,",
        "subscribes: [Ping, {contract: DeadLetter, pattern: _sys.dead.pinger.*},",
    )
    small_system.forget()
    assert check(small_system).exit_code == 0


CASES = {
    "type id": ("contracts", "type_id=1,", "type_id=9,", "contracts.Ping.type_id = 1: {package}.contracts.Ping says"),
    "topic": ("contracts", '"ping.{lane}"', '"pings.{lane}"', "contracts.Ping.topic = 'ping.{lane}': "),
    "new field": ("contracts", 'note: str = ""', 'note: str = ""\n    more: int = 1', "fields.more: is missing here"),
    "gone field": (
        "contracts",
        '\n    note: str = ""',
        "",
        "fields.note = \"str = ''\": {package}.contracts.Pong has no",
    ),
    "field order": (
        "spec",
        "{lane: str, number: int}",
        "{number: int, lane: str}",
        "contracts.Ping.fields = 'number, lane': the order is part of the wire format",
    ),
    "class name": ("spec", "contracts:Ping", "contracts:Pong", "the class is called Pong"),
    "no such class": ("spec", "contracts:Ping", "contracts:Pling", "has no Pling"),
    "no such module": ("spec", "contracts:Ping", "kontracts:Ping", "cannot be imported: ModuleNotFoundError"),
    "no message": ("spec", "contracts:Ping", "contracts:Message", "is no Message with a type_id and topic"),
    "no service": ("spec", "services:Pinger", "services:PingerSettings", "is no subclass of Service"),
    "service name": ("services", 'name = "pinger"', 'name = "pingu"', "says name='pingu'"),
    "undeclared subscription": (
        "services",
        "    @handles(Ping)",
        '    @handles(Pong, "pong.b")\n    async def on_b(self, pong): ...\n\n    @handles(Ping)',
        "services.ponger.subscribes: does not have Pong on pong.b, which",
    ),
    "missing subscription": (
        "spec",
        "subscribes: []",
        "subscribes: [Pong]",
        "services.pinger.subscribes: has Pong on pong.*, which is not among what {package}.services.Pinger declares",
    ),
    "unknown contract": (
        "spec",
        "publishes: [Ping]",
        "publishes: [Ping, Pang]",
        "= 'Pang': is no contract of this spec",
    ),
    "unknown dependency": ("spec", "depends_on: []", "depends_on: [nobody]", "= 'nobody': is no service of this spec"),
    "shared type id": ("spec", "type_id: 2", "type_id: 1", "contracts.Pong.type_id = 1: is Ping's already"),
    "no writer": ("spec", "publishes: [Ping]", "publishes: []", "contracts.Ping: no service publishes it"),
    "no reader": ("spec", "[Ping, {contract: Pong, pattern: pong.a}]", "[Ping]", "Pong: no service subscribes to it"),
    "dead pattern": (
        "spec",
        "pattern: pong.a",
        "pattern: pung.a",
        "matches no topic of Pong, which travels on pong.{lane}",
    ),
    "wrong pattern": ("spec", "pattern: pong.a", "pattern: pong.>.a", "'>' stands for the rest"),
    "counted": ("spec", "events: [Ping]", "events: [Pang]", "counted.events = 'Pang': is no contract"),
    "left out": ("topology", '["pinger", "ponger"]', '["pinger"]', "bundles: places no ponger, which system.yaml has"),
    "unknown placed": (
        "topology",
        '"ponger"]',
        '"ponger", "x"]',
        "bundles.0.services = 'x': is no service of system.yaml",
    ),
    "settings of nobody": ("topology", "[services.pinger]", "[services.pingu]", "services.pingu: is no service of"),
    "wrong setting": (
        "topology",
        "how_many = 25",
        'how_many = "x"',
        "services.pinger.how_many = 'x': should be a valid",
    ),
    "unknown setting": (
        "topology",
        "how_many = 25",
        "howmany = 2",
        "howmany: is not a known key; did you mean 'how_many'",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_difference_is_found(small_system: SmallSystem, case: tuple[str, str, str, str]) -> None:
    place, old, new, complaint = case
    small_system.change(getattr(small_system, place), old, new)
    result = check(small_system)
    assert result.exit_code == 1, result.output
    assert complaint.replace("{package}", small_system.package) in result.stderr


def test_one_service_does_not_publish_two_contracts_on_one_topic(small_system: SmallSystem) -> None:
    small_system.change(small_system.spec, "publishes: [Ping]", "publishes: [Ping, Pong]")
    assert "can meet on one topic" not in check(small_system).stderr
    small_system.change(small_system.spec, "topic: pong.{lane}", 'topic: "{kind}.{lane}"')
    result = check(small_system)
    assert result.exit_code == 1
    assert "services.pinger.publishes: Ping on ping.{lane} and Pong on {kind}.{lane} can meet" in result.stderr


MALFORMED = {
    "no yaml": ("system: test", "system: [", "is not YAML"),
    "no table": (None, "just text", "holds no table"),
    "key twice": ("system: test", "system: test\nsystem: test", "key 'system' stands twice (line 3, column 1)"),
    "unknown key": ("restart: on_failure", "restert: on_failure", "did you mean 'restart'?"),
    "no restart policy": ("restart: on_failure", "", "services.pinger.restart: is missing"),
    "no dependencies": ("    depends_on: []\n", "", "services.pinger.depends_on: is missing"),
    "wrong restart": ("restart: on_failure", "restart: sometimes", "should be 'always', 'on_failure' or 'never'"),
    "wrong topic": ("topic: ping.{lane}", "topic: Ping", "contracts.Ping.topic = 'Ping'"),
    "system topic": ("topic: ping.{lane}", "topic: _sys.{lane}", "those topics are the fabric's own"),
    "wrong class path": ("class: PACKAGE.contracts:Ping", "class: Ping", "contracts.Ping.class = 'Ping'"),
    "system type id": ("type_id: 1", "type_id: 65281", "should be less than or equal to 65279"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_spec_is_one_clear_message(small_system: SmallSystem, case: tuple[str | None, str, str]) -> None:
    old, new, complaint = case
    if old is None:
        small_system.spec.write_text(new)
    else:
        small_system.change(small_system.spec, old.replace("PACKAGE", small_system.package), new)
    result = invoke(small_system, "check")
    assert isinstance(result.exception, ConfigError)
    assert complaint in str(result.exception)


def test_a_contract_is_recorded_before_it_agrees(small_system: SmallSystem) -> None:
    result = check(small_system, locked=False)
    assert result.exit_code == 1
    assert "contracts.Ping: is not recorded yet; run 'mycelium spec lock'" in result.stderr


def test_an_appended_field_with_a_default_is_recorded_and_one_without_is_refused(small_system: SmallSystem) -> None:
    check(small_system)
    small_system.forget()
    small_system.change(small_system.contracts, 'note: str = ""', 'note: str = ""\n    more: int = 1')
    small_system.change(small_system.spec, "note: \"str = ''\"", "note: \"str = ''\", more: int = 1")
    assert "contracts.Pong: has grown since it was recorded" in check(small_system, locked=False).stderr
    assert invoke(small_system, "lock").exit_code == 0
    assert invoke(small_system, "check").exit_code == 0
    small_system.forget()
    # The second contract has a field with a default already; a required one can only follow in the first.
    small_system.change(small_system.contracts, "number: int\n\n", "number: int\n    more: int\n\n")
    refused = invoke(small_system, "lock")
    assert refused.exit_code == 1
    assert "appends 'more: int' without a default" in refused.stderr
    assert invoke(small_system, "lock", "--accept-breaking").exit_code == 0


def test_a_type_id_that_is_gone_never_comes_back(small_system: SmallSystem) -> None:
    check(small_system)
    small_system.forget()
    for path in (small_system.contracts, small_system.services, small_system.spec):
        path.write_text(path.read_text().replace("Pong", "Pang").replace("type_id=2", "type_id=3"))
    small_system.change(small_system.spec, "type_id: 2", "type_id: 3")
    assert "contracts.Pong: is gone from the code" in check(small_system, locked=False).stderr
    assert invoke(small_system, "lock").exit_code == 0
    assert invoke(small_system, "check").exit_code == 0
    small_system.forget()
    small_system.change(small_system.contracts, "type_id=3", "type_id=2")
    small_system.change(small_system.spec, "type_id: 3", "type_id: 2")
    assert "retired.2: was Pong's and is never reused; Pang needs a new type id" in invoke(small_system, "check").stderr


def test_a_damaged_lock_is_named(small_system: SmallSystem) -> None:
    (small_system.root / "system.lock").write_text("{")
    result = invoke(small_system, "check")
    assert isinstance(result.exception, ConfigError)
    assert "is no contract lock" in str(result.exception)


def test_the_diagram_shows_the_wiring(small_system: SmallSystem) -> None:
    drawn = invoke(small_system, "diagram").stdout
    assert drawn.startswith("flowchart LR\n")
    assert 'pinger -- "Ping" --> ponger' in drawn
    assert 'ponger -- "Pong<br/>pong.a" --> ponger' in drawn


def test_the_catalogue_page_is_checked_for_freshness(small_system: SmallSystem) -> None:
    page = small_system.root / "page.md"
    stale = invoke(small_system, "diagram", "--check", str(page))
    assert stale.exit_code == 1
    assert "run 'mycelium spec diagram --write" in stale.stderr
    assert invoke(small_system, "diagram", "--write", str(page)).exit_code == 0
    assert invoke(small_system, "diagram", "--check", str(page)).exit_code == 0
    assert "| `note` | `str = ''` |" in page.read_text()
    small_system.change(small_system.spec, "restart: on_failure", "restart: always")
    assert invoke(small_system, "diagram", "--check", str(page)).exit_code == 1
