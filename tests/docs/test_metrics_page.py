"""What the page about metrics shows is what processes export, and what the rules are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from mycelium.broker.broker import BrokerStatistics
from mycelium.bus.clock import SystemClock
from mycelium.core.ledger import Ledger
from mycelium.journal import JournalStatistics
from mycelium.observe.broker_figures import tell_broker
from mycelium.observe.figures import Figures
from mycelium.observe.http_guard import tell_refused
from mycelium.observe.loop_delay import LoopDelay
from mycelium.observe.metrics import Exposition
from mycelium.observe.sampling import Ratios
from mycelium.observe.tracing import Ended, SpanCounts, Tracer
from mycelium.service.figures import tell_host
from mycelium.service.host import HostStatistics
from mycelium.transport.store import StoreStatistics
from tests.docs.pages import DOCS, REPOSITORY

PAGE = DOCS / "how-to" / "metrics.md"
RULES = REPOSITORY / "compose" / "prometheus" / "rules.yml"
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|(.*?)\| .+ \|$", re.MULTILINE)

JOURNAL = JournalStatistics(
    frames=0, frame_bytes=0, streams=0, readers=0, first_position=1, last_position=0, synced_position=0,
    stored_bytes=0, max_bytes=0, free_bytes=0, appended=0, refused_full=0, syncs=0, removed={},
)  # fmt: skip
STORE = StoreStatistics(
    journal=JOURNAL, kept_messages=0, clients=0, connections={}, subscriptions=0, repairs=0, repairs_waiting=0,
    expired={}, refused={}, lags={},
)  # fmt: skip
BROKER = BrokerStatistics(
    store=STORE, accepted=0, passed_on=0, duplicates=0, unconfirmed=0, publishing=0, is_open=True, is_full=False,
    has_failed=False,
)  # fmt: skip
HOST = HostStatistics(Ledger(), (), {}, {}, {}, {})


class _Nowhere:
    counts = SpanCounts()

    def send(self, ended: Ended) -> None:
        raise NotImplementedError  # nothing is traced here


def tell_all(figures: Figures) -> None:
    tell_host(figures, HOST)
    tell_broker(figures, BROKER)
    LoopDelay().tell(figures)
    Tracer(Ratios(), _Nowhere(), SystemClock().time_ns).tell(figures)
    tell_refused(figures, {})


def exported() -> dict[str, str]:
    """The kind of each metric that a process can have, by its name."""
    body, _ = Exposition(tell_all, "1").answer("")
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(body.decode())
    }


def test_each_metric_has_its_row_and_no_other() -> None:
    rows = [(name, kind) for name, kind, _ in _ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(rows) == len(set(rows)) > 40
    assert dict(rows) == exported()


def test_each_row_has_the_labels() -> None:
    figures = Figures()
    tell_all(figures)
    labels = {
        name.removesuffix("_total"): re.findall(r"`(\w+)`", shown)
        for name, _, shown in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    for name, family in figures.families.items():
        assert labels[name] == list(family.names), name


def expressions() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule.get("record") or rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def names_in(expression: str) -> set[str]:
    """The metrics of an expression."""
    without_strings = re.sub(r'"[^"]*"', "", expression)
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*", without_strings) if re.match(r"\w+_\w|\w+:|up$", name)} - {
        "histogram_quantile", "min_over_time", "predict_linear",
    }  # fmt: skip


def test_the_rules_are_made_of_metrics_that_there_are() -> None:
    there = set(expressions()) | {"up"}
    for name, kind in exported().items():
        there |= {name + part for part in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    there.add("mycelium_service_behind")  # of the adapter: test_dashboards.py asks a real one
    found = {name: names_in(expression) for name, expression in expressions().items()}
    assert all(found.values())
    assert {name: used - there for name, used in found.items() if used - there} == {}


def test_every_rule_is_tested() -> None:
    tests = Path(RULES).with_name("rules_test.yml").read_text(encoding="utf-8")
    untested = {name for name in expressions() if not re.search(rf"\b{re.escape(name)}\b", tests)}
    assert untested == {
        "subscription:mycelium_delivery_latency_seconds:p99_5m",
        "instance:mycelium_event_loop_delay_seconds:p99_5m",
    }, "these two are tested by the alerts that stand on them"


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_is_tested_in_both_ways() -> None:
    tests = yaml.safe_load(RULES.with_name("rules_test.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(alerts())
    # At least once where all is well for long, and not only before its time has come.
    (calm,) = [test for test in tests if test["name"] == "nothing fires where nothing is wrong"]
    assert [case["alertname"] for case in calm["alert_rule_test"]] == list(alerts())
    assert all(case["exp_alerts"] == [] for case in calm["alert_rule_test"])
    # Where nothing is measured nothing fires either.
    measured = names_in(str(calm["input_series"]))
    assert {name for name, rule in alerts().items() if not names_in(rule["expr"]) & measured} == {
        "MyceliumEventLoopBlocked", "MyceliumSlowDelivery",
    }, "these two stand on recorded ones"  # fmt: skip


def test_every_alert_says_what_to_do() -> None:
    assert len(alerts()) > 20
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert "$value" in rule["annotations"]["description"], name
        todo, page = rule["annotations"]["runbook"].rsplit(" ", 1)
        assert len(todo) > 20
        assert (REPOSITORY / page).is_file(), (name, page)
