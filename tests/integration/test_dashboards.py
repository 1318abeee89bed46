"""The dashboards against the real system: each panel has something to show, once a real Prometheus watches it."""

from __future__ import annotations

import json
import math
import re
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from adapters.polygon.record import MissingToolError, Tools
from adapters.polygon.record.playground import Playground
from compose.grafana.boards import BOARDS, DIRECTORY, stale, write
from compose.grafana.expressions import MEANT
from mycelium.observe.figures import Figures
from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.docs.test_metrics_page import exported, expressions, tell_all
from tests.integration.test_prometheus import (
    TOKEN,
    Watcher,
    check_exposition,
    needs_prometheus,
    needs_promtool,
    promtool,
)
from tests.processes.running import processes

SERVICES = {"market": "polygon_adapter", "strategy": "flash_arbitrage", "report": "run_report"}
"""By bundle. Other services of the system are no part of these dashboards."""
PROCESSES = ("broker", *SERVICES)

PROVISIONING = DIRECTORY.with_name("provisioning")
FIXED = {"$__rate_interval": "10s", "$__interval": "10s"}
PATIENCE = 45.0
"""Seconds until every panel has something to show."""

LE = {"_bucket": ("le",)}
NAMES = sorted(board.name for board in BOARDS)


def load(name: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All queries with the titles of their panels."""
    return [(panel["title"], target) for panel in panels(board) for target in panel["targets"]]


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def filled(text: str, values: dict[str, str]) -> str:
    """An expression as Grafana sends it."""
    for name, value in {**FIXED, **{f"${name}": value for name, value in values.items()}}.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def selectors_in(expression: str) -> list[promql_parser.VectorSelector]:
    """What an expression selects, with the labels that it asks for."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def metrics_in(expression: str) -> set[str]:
    """The metrics of an expression."""
    return {str(selector.name) for selector in selectors_in(expression)}


def labels_in(expression: str) -> set[tuple[str, str]]:
    """The labels that an expression asks for, or adds up by, each with the metric that must have it."""
    found = {(str(one.name), matcher.name) for one in selectors_in(expression) for matcher in one.matchers.matchers}

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            names = metrics_in(node.expr.prettify())
            found.update((name, label) for name in names for label in node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def labels_of(metric: str) -> set[str]:
    """The labels that a metric has."""
    figures = Figures()
    tell_all(figures)
    families = {
        "mycelium_build_info": ("version", "python"),
        "ALERTS": ("alertname", "alertstate", "severity"),
        **{name: family.names for name, family in figures.families.items()},
    }
    if metric.startswith("mycelium_service_"):
        return {"job", "instance", "service", "name"}
    if ":" in metric:
        return {"job", metric.partition(":")[0]}
    return {"job", "instance", *families.get(re.sub(r"_(total|bucket)$", "", metric), ()), *LE.get(metric[-7:], ())}


def exported_names() -> set[str]:
    """All names that series of a process or of the rules can have, but for figures of services' own."""
    found = {"up", "ALERTS", *(name for name in expressions() if ":" in name)}
    for name, kind in exported().items():
        found |= {name + part for part in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    return found


def some_values(board: dict[str, Any]) -> dict[str, str]:
    return {name: "x" for name, variable in variables(board).items() if variable["type"] == "query"}


def unknown(expression: str) -> set[str]:
    """Metrics of an expression that nobody exports."""
    return {name for name in metrics_in(expression) - exported_names() if not name.startswith("mycelium_service_")}


def test_the_files_are_what_the_code_says(tmp_path: Path) -> None:
    assert stale() == [], "run 'make dashboards'"
    write(tmp_path)
    assert stale(tmp_path) == []
    changed = tmp_path / "broker.json"
    changed.write_text(changed.read_text() + " ")
    (tmp_path / "trading.json").unlink()
    (tmp_path / "older.json").write_text("{}")
    assert stale(tmp_path) == ["broker.json", "older.json", "trading.json"]
    write(tmp_path)
    assert stale(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_whole(name: str) -> None:
    board = load(name)
    assert board["uid"] == f"mycelium-{name}"
    assert {link["type"] for link in board["links"]} == {"dashboards", "link"}
    assert all(set(link["tags"]) <= set(board["tags"]) for link in board["links"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles) > 15
    for panel in panels(board):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert len(references) == 1 or all(target["legendFormat"] != "__auto" for target in panel["targets"])
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_lie_on_one_another(name: str) -> None:
    places = [panel["gridPos"] for panel in load(name)["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_each_expression_is_one_of_metrics_that_there_are(name: str) -> None:
    board = load(name)
    values = some_values(board)
    said = [filled(target["expr"], values) for _, target in targets(board)]
    said += [filled(annotation["expr"], values) for annotation in board["annotations"]["list"]]
    assert {expression: found for expression in said if (found := unknown(expression))} == {}
    assert all(metrics_in(expression) for expression in said)


@pytest.mark.parametrize("name", NAMES)
def test_each_variable_is_used(name: str) -> None:
    board = load(name)
    text = json.dumps([panel["targets"] for panel in panels(board)])
    for variable in some_values(board):
        assert f"${variable}" in text, variable


@pytest.mark.parametrize("name", NAMES)
def test_each_expression_asks_for_labels_that_there_are(name: str) -> None:
    board = load(name)
    said = {filled(target["expr"], some_values(board)) for _, target in targets(board)}
    wrong = {
        (metric, label)
        for expression in said
        for metric, label in labels_in(expression)
        if label not in labels_of(metric)
    }
    assert wrong == set()


def _series(selector: promql_parser.VectorSelector) -> dict[str, str]:
    """One series that a selector selects, which rises, or is at fault: for promtool."""
    labels = dict.fromkeys(sorted(labels_of(str(selector.name))), "x")
    for matcher in selector.matchers.matchers:
        if matcher.op == promql_parser.MatchOp.Equal:
            labels[matcher.name] = matcher.value
    if selector.name == "ALERTS":
        labels["alertname"] = "MyceliumDown"
    shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
    values = "0x240" if selector.name in ("up", "mycelium_ready") else "0+60x240"
    return {"series": f"{selector.name}{{{shown}}}", "values": values}


@needs_promtool
def test_what_is_usually_0_is_not_once_it_has_happened(tmp_path: Path) -> None:
    """An expression that says 0 where there is nothing would do so too if it asked for the wrong thing."""
    said = {filled(target["expr"], some_values(load(name))) for name in NAMES for _, target in targets(load(name))}
    usually = sorted(expression for expression in said if "vector(0)" in expression)
    assert len(usually) > 20
    tests = [
        {
            "interval": "5s",
            "input_series": list({str(one): one for one in map(_series, selectors_in(expression))}.values()),
            "promql_expr_test": [
                {
                    "expr": f"count(({expression}) > 0)",
                    "eval_time": "20m",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
        for expression in usually
    ]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    tested = promtool("test", "rules", tmp_path / "test.yml")
    assert tested.returncode == 0, tested.stdout


def test_what_drops_are_meant_is_what_the_rules_say() -> None:
    assert f'cause!~"{MEANT}"' in expressions()["MyceliumMessagesDropped"]


def test_an_expression_that_is_wrong_is_found() -> None:
    assert ("mycelium_ready", "port") in labels_in("sum by (port) (mycelium_ready)")
    assert "port" not in labels_of("mycelium_ready")
    assert unknown("sum(rate(mycelium_nothing_total[1m])) or on() vector(0)") == {"mycelium_nothing_total"}
    with pytest.raises(ValueError, match="unclosed"):
        unknown("sum(rate(mycelium_ready[1m])")


def test_what_grafana_is_given_fits_together() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "mycelium.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
    assert not provider["allowUiUpdates"]


class LiveSystem:
    """Broker, adapter, strategy and report as processes of their own, on a node that trades, and their Prometheus.

    Args:
        stack: what ends with it.
        directory: for its files.
        tools: to start the node.
    """

    def __init__(self, stack: ExitStack, directory: Path, tools: Tools) -> None:
        playground = stack.enter_context(Playground(tools, seed=7))
        self._started = stack.enter_context(processes(directory))
        ports = free_ports(3 + len(PROCESSES))
        self.ports = dict(zip(PROCESSES, ports[3:], strict=True))
        self._configure(ports)
        with pytest.MonkeyPatch.context() as environment:
            for name, settings in _settings(playground.node.port, directory).items():
                environment.setenv(f"MYCELIUM_SERVICES__{name.upper()}", json.dumps(settings))
            self._started.broker()
            running = [
                self._started.mycelium("run", "-q", "--bundle", bundle, "-c", self._started.config)
                for bundle in reversed(SERVICES)
            ]
        for process in running:
            process.wait_for("ready")
        self.watcher = Watcher(directory, *self.ports.values())
        stack.callback(self.watcher.close)
        _keep_trading(stack, playground)

    def _configure(self, ports: list[int]) -> None:
        """Write the topology: the one of the demo on a live chain, but distributed and of these services."""
        started = self._started
        spec = yaml.safe_load((REPOSITORY / "system.yaml").read_text())
        spec["services"] = {name: spec["services"][name] for name in SERVICES.values()}
        (started.directory / "system.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        (started.directory / "token").write_text(TOKEN)
        (started.directory / "token").chmod(0o600)
        bundles = "".join(
            f'[[bundles]]\nname = "{bundle}"\nservices = ["{service}"]\n' for bundle, service in SERVICES.items()
        )
        served = "".join(f"{process} = {port}\n" for process, port in self.ports.items())
        started.config.write_text(
            '[deployment]\nmode = "distributed"\nstate_dir = "state"\n'
            f"[broker]\nframes_port = {ports[0]}\ncontrol_port = {ports[1]}\npublish_port = {ports[2]}\n{bundles}"
            "[delivery.flash_arbitrage]\ndurable = true\n"
            f'[http]\ntoken_file = "token"\n[http.ports]\n{served}'
        )

    def chosen(self, board: dict[str, Any]) -> dict[str, str]:
        """What a dashboard's variables are when it is opened: the first value, or all."""
        found: dict[str, str] = {}
        for name, variable in variables(board).items():
            if variable["type"] != "query":
                continue
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", filled(variable["query"]["query"], found))
            assert asked is not None, variable
            values = self.watcher.ask(f"label/{asked[2]}/values", **{"match[]": asked[1]})
            assert values, f"nothing to choose for {name}"
            if variable["includeAll"]:
                found[name] = variable.get("allValue") or f"({'|'.join(values)})"
            else:
                found[name] = values[0]
        return found

    def answer(self, expression: str) -> list[dict[str, Any]]:
        """The samples that are numbers."""
        result = self.watcher.ask("query", query=expression)["result"]
        return [sample for sample in result if math.isfinite(float(sample["value"][1]))]


def _settings(port: int, directory: Path) -> dict[str, Any]:
    """Of the services: those of the demo on a live chain, with this chain and these files."""
    demo = tomllib.loads((REPOSITORY / "config" / "demo-live.toml").read_text())["services"]
    found = {name: demo[name] for name in SERVICES.values()}
    address = f"127.0.0.1:{port}"
    found["polygon_adapter"]["live"] |= {
        "state": str(directory / "cursor.sqlite"),
        "endpoints": [{"url": f"http://{address}", "websocket": f"ws://{address}"}],
    }
    found["run_report"]["directory"] = str(directory / "report")
    return found


def _keep_trading(stack: ExitStack, playground: Playground) -> None:
    """A block with trades a few times a second, until the end."""
    stopping = threading.Event()

    def trade() -> None:
        while not stopping.wait(0.25):
            playground.trade()

    trader = threading.Thread(target=trade)
    trader.start()
    stack.callback(trader.join)
    stack.callback(stopping.set)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    try:
        tools = Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:
        system = LiveSystem(stack, tmp_path_factory.mktemp("watched"), tools)
        system.watcher.wait_for(f"count(up == 1) == {len(PROCESSES)}")
        # What stands for a rate over its window: from now on the variables have values.
        system.watcher.wait_for("count(mycelium_service_examined) and on() sum(mycelium_service_behind) >= 0")
        yield system


@needs_prometheus
@pytest.mark.node
@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_every_panel_shows_something(live: LiveSystem, name: str) -> None:
    board = load(name)
    values = live.chosen(board)
    waiting = {(title, target["refId"]): target for title, target in targets(board)}
    deadline = time.monotonic() + PATIENCE
    while waiting:
        for key, target in list(waiting.items()):
            samples = live.answer(filled(target["expr"], values))
            if samples:
                _check_legend(target["legendFormat"], samples)
                del waiting[key]
        assert time.monotonic() < deadline, {key: filled(target["expr"], values) for key, target in waiting.items()}
        if waiting:
            time.sleep(0.5)  # Prometheus looks once a second


def _check_legend(legend: str, samples: list[dict[str, Any]]) -> None:
    """A legend is made of labels that are there; where nothing has happened its first one says so."""
    wanted = re.findall(r"{{(\w+)}}", legend)
    names = set()
    for sample in samples:
        labels: dict[str, str] = sample["metric"]
        assert "none" in labels.values() or set(wanted) <= set(labels), (legend, labels)
        names.add(tuple(labels.get(label) for label in wanted))
    assert legend == "__auto" or len(names) == len(samples), (legend, samples)


@needs_prometheus
@pytest.mark.node
@pytest.mark.process
def test_figures_of_services_are_those_that_there_are(live: LiveSystem) -> None:
    known = set(live.watcher.ask("label/__name__/values"))
    wanted: set[str] = set()
    for name in NAMES:
        board = load(name)
        for _, target in targets(board):
            wanted |= metrics_in(filled(target["expr"], some_values(board)))
    wanted = {name for name in wanted if name.startswith("mycelium_service_")}
    assert len(wanted) > 20
    assert wanted <= known, wanted - known


@needs_prometheus
@pytest.mark.node
@pytest.mark.process
def test_a_panel_that_is_wrong_shows_nothing(live: LiveSystem) -> None:
    assert live.answer('mycelium_ready{part="broker"}')
    assert not live.answer('mycelium_ready{part="baker"}')
    assert not live.answer("mycelium_ready / 0 * 0"), "not a number is nothing"


@needs_promtool
@needs_prometheus
@pytest.mark.node
@pytest.mark.process
@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_tells_its_figures_as_it_should(live: LiveSystem, process: str) -> None:
    check_exposition(live.ports[process])


@needs_prometheus
@pytest.mark.node
@pytest.mark.process
def test_nothing_is_wrong_where_nothing_is(live: LiveSystem) -> None:
    """The panels in the first row that turn red show 0, and no alert fires."""
    board = load("fabric")
    values = live.chosen(board)
    zero = {"Processes down", "Parts not ready", "Dropped, last hour", "Dead letters, last hour", "Alerts"}
    for title, target in targets(board):
        if title in zero:
            (sample,) = live.answer(filled(target["expr"], values))
            assert float(sample["value"][1]) == 0, title
            zero.discard(title)
    assert not zero
    assert live.watcher.firing() == set()
