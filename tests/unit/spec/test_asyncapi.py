"""The AsyncAPI document: valid, complete, and what messages really look like."""

from __future__ import annotations

import copy
import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.market import PoolMetadata, Protocol, SwapEvent, Token
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256, Address
from mycelium.cli.values import json_line, plain
from mycelium.core.message import Message
from mycelium.observe.figures import Figures
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import statistics_of
from mycelium.service.dead_letters import DeadLetter
from mycelium.spec.asyncapi import asyncapi, asyncapi_text
from mycelium.spec.code import import_code
from mycelium.spec.model import SystemSpec, load_spec
from tests.conftest import REPOSITORY
from tests.security.system import SPEC

OFFICIAL = REPOSITORY / "build/node-tools/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"

Table = dict[str, Any]


@cache
def repository() -> tuple[SystemSpec, Table]:
    spec = load_spec(REPOSITORY / "system.yaml")
    return spec, asyncapi(spec, import_code(spec, REPOSITORY / "system.yaml"))


def small(directory: Path, change: tuple[str, str] = ("", "")) -> Table:
    path = directory / "system.yaml"
    path.write_text(SPEC.replace(*change))
    spec = load_spec(path)
    return asyncapi(spec, import_code(spec, path))


def resolved(document: Table, value: Any) -> Any:
    """What a reference leads to."""
    while isinstance(value, dict) and "$ref" in value:
        head, *path = value["$ref"].split("/")
        assert head == "#"
        value = document
        for step in path:
            value = value[step]
    return value


def references(value: Any) -> list[Table]:
    if isinstance(value, dict):
        return [value] if "$ref" in value else [one for inside in value.values() for one in references(inside)]
    return [one for inside in value for one in references(inside)] if isinstance(value, list) else []


def test_what_is_committed_is_fresh() -> None:
    spec = load_spec(REPOSITORY / "system.yaml")
    text = asyncapi_text(spec, import_code(spec, REPOSITORY / "system.yaml"))
    assert (REPOSITORY / "docs/reference/asyncapi.yaml").read_text(encoding="utf-8") == text, "run 'make spec'"
    assert yaml.safe_load(text) == repository()[1]


def test_every_contract_has_its_channel_and_every_declaration_its_operation() -> None:
    spec, document = repository()
    assert set(document["channels"]) == {*spec.contracts, "DeadLetter", "ProcessStatistics"}
    for name, contract in spec.contracts.items():
        channel = document["channels"][name]
        assert channel["address"] == contract.topic
        parameters = list(channel["parameters"])
        assert contract.topic == ".".join([contract.topic.split(".")[0], *(f"{{{one}}}" for one in parameters)])
        message = document["components"]["messages"][name]
        assert message["x-type-id"] == contract.type_id
        assert list(message["payload"]["properties"]) == list(contract.fields)
    wanted = {
        (action, contract, name)
        for name, service in spec.services.items()
        for action, contracts in (
            ("send", [*service.publishes, "ProcessStatistics", *(["DeadLetter"] if service.subscribes else [])]),
            ("receive", [entry.contract for entry in service.subscribes]),
        )
        for contract in contracts
    }
    wanted |= {("receive", entry.contract, name) for name, one in spec.operators.items() for entry in one.subscribes}
    found = {
        (one["action"], one["channel"]["$ref"].rpartition("/")[2], one["tags"][0]["name"])
        for one in document["operations"].values()
    }
    assert found == wanted


def test_every_reference_leads_somewhere() -> None:
    document = repository()[1]
    found = references(document)
    assert len(found) > 50
    assert all(isinstance(resolved(document, one), dict) for one in found)


def test_a_pattern_stands_beside_its_operation(tmp_path: Path) -> None:
    document = small(tmp_path, ("subscribes: [Tick]", "subscribes: [{contract: Tick, pattern: ticks.y}]"))
    assert document["operations"]["trader_receives_Tick"]["x-pattern"] == "ticks.y"
    assert document["operations"]["clearing_receives_Order"]["x-pattern"] == "orders.*"
    assert document["x-operators"] == {"ledger": {"description": "", "asks": ["books"]}}
    assert document["x-services"]["trader"]["class"] == "tests.security.services:Trader"


def test_the_version_is_that_of_the_contracts(tmp_path: Path) -> None:
    same, other = small(tmp_path), repository()[1]
    assert same["info"]["version"] == small(tmp_path)["info"]["version"] != other["info"]["version"]


def figures_of_a_process() -> Figures:
    figures = Figures()
    figures.counter("mycelium_published_messages", "…", "service").add(2**54, "a")
    histogram = LatencyHistogram()
    histogram.record(1_000_000)
    figures.histogram("mycelium_delivery_latency_seconds", "…", "subscription").merge(histogram, "a.on_ping")
    return figures


HOP = Hop(Address(b"\1" * 20), Address(b"\2" * 20), Address(b"\3" * 20), U256(5), U256(2**256 - 1))
TOKEN = Token(Address(b"\4" * 20), "USDC", 6)
MESSAGES: list[Message] = [
    SwapEvent("v", "i", Address(b"\1" * 20), 1, 2, 2**60, b"\xab", I256(-(2**255)), I256(7)),
    PoolMetadata("v", "i", Address(b"\1" * 20), Protocol.UNISWAP_V3, TOKEN, TOKEN, 500),
    ArbitrageSignal("s", "usdc", b"", 1, 2, 3, (HOP, HOP), I256(-4), U256(0), U256(0), I256(0)),
    DeadLetter("s", "h", "w", 2**62, "a.b", 1, 100, b"\x91\x90", 3, "ValueError: x"),
    statistics_of("market", 2**62, 1, "1.0", figures_of_a_process()),
]


def jsonschema() -> Any:
    try:
        return importlib.import_module("jsonschema")
    except ImportError:
        pytest.skip("jsonschema is missing: it comes with cyclonedx-bom, in the dependency group audit")


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_the_payload_describes_what_is_shown_of_a_message(message: Message) -> None:
    document = repository()[1]
    name = type(message).__name__
    schema = {"$ref": f"#/components/messages/{name}/payload", "components": document["components"]}
    validator = jsonschema().Draft7Validator(schema)
    shown = json.loads(json_line(plain(message)))
    assert list(validator.iter_errors(shown)) == []
    # It would notice: a field that is missing, and each one that is something else.
    required = document["components"]["messages"][name]["payload"]["required"]
    assert list(validator.iter_errors({key: value for key, value in shown.items() if key != required[0]}))
    for field in shown:
        assert list(validator.iter_errors({**shown, field: {"x": [None]}})), field


def test_value_types_say_how_they_travel() -> None:
    schemas = repository()[1]["components"]["schemas"]
    assert schemas["U256"]["x-wire"] == "bin: 32 bytes, big-endian."
    assert schemas["U256"]["description"].startswith("An unsigned 256-bit integer")
    assert schemas["Address"]["description"].startswith("An EVM account or contract: 20 bytes")
    assert schemas["Protocol"]["enum"] == ["uniswap_v2", "uniswap_v3"]


def test_the_official_schema_accepts_it() -> None:
    if not OFFICIAL.is_file():
        pytest.skip("@asyncapi/specs is missing: tools/install-system-parts installs it")
    validator = jsonschema().Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))
    document = repository()[1]
    assert [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(document)] == []
    for path in (("info", "title"), ("channels", "SwapEvent", "messages"), ("operations",)):
        broken = copy.deepcopy(document)
        inside = broken
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = 7
        assert list(validator.iter_errors(broken)), path
