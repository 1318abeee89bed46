"""A real Prometheus watches real processes of ours: what it finds there, and what the rules make of it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.docs.test_metrics_page import RULES, expressions, names_in
from tests.processes.collector import collector
from tests.processes.running import PATIENCE, Processes, Running, processes
from tests.systems import SmallSystem

RULES_TEST = RULES.with_name("rules_test.yml")
TOKEN = "a-token-for-tests-and-nothing-else"

SERVICES = """
import asyncio
from dataclasses import dataclass

from PACKAGE.contracts import Ping, Pong
from mycelium.service import NoSettings, Service, handles


@dataclass(frozen=True)
class Own:
    pings: int
    by_lane: dict[str, int]


class Pinger(Service[NoSettings]):
    name = "pinger"
    publishes = (Ping,)
    pings = 0

    async def run(self):
        while True:
            self.pings += 1
            self.intake("clock").accept()
            await self.publish(Ping("ab"[self.pings % 2], self.pings))
            await asyncio.sleep(0.02)
            await self.breathe()

    def statistics(self):
        return Own(self.pings, {"a": self.pings // 2, "b": self.pings - self.pings // 2})


class Ponger(Service[NoSettings]):
    name = "ponger"
    publishes = (Pong,)

    @handles(Ping)
    async def on_ping(self, ping):
        await self.publish(Pong(ping.lane, ping.number))

    @handles(Pong, "pong.a")
    async def on_pong(self, pong):
        if pong.number % 50 == 0:
            raise ValueError("fifty")
"""

pytestmark = pytest.mark.process

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: Debian package prometheus")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is missing: Debian package prometheus")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def promtool(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *map(str, arguments)],
        check=False,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


@needs_promtool
def test_the_rules_are_rules() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout
    assert f"{len(expressions())} rules found" in checked.stdout


@needs_promtool
def test_the_rules_do_what_their_tests_say() -> None:
    tested = promtool("test", "rules", RULES_TEST)
    assert tested.returncode == 0, tested.stdout


WRONG = {
    "MyceliumNobodyWatched": ("mycelium", "another"),
    "MyceliumNotReady": ("== 0", "== 1"),
    "MyceliumHandlerFailures": ("2m", "30m"),
    "MyceliumMessagesDropped": ("queue policy .*|", ""),
    "MyceliumQueueFull": ("0.9", "0.8"),
    "MyceliumFallsBehind": (">=", "<"),
    "MyceliumRefusals": ("offset 10m", "offset 1m"),
    "MyceliumPublishRefused": ("offset 10m", "offset 1m"),
    "MyceliumFramesRefused": ("or", "unless"),
    "MyceliumUnconfirmed": ("unless", "and"),
    "MyceliumReaderLag": ("deriv", "-deriv"),
    "MyceliumJournalNearlyFull": ("0.8", "0.65"),
    "MyceliumDiskTooSmall": ("<", ">"),
    "MyceliumChainBehind": ("> 20", ">= 20"),
    "subscription:mycelium_delivery_latency_seconds:p99_5m": ("0.99", "0.5"),
}
"""What is put in the place of what, in which rule."""


@needs_promtool
def test_each_rule_that_is_wrong_is_found(tmp_path: Path) -> None:
    """All at once, since a run takes seconds: a case is about one alert and says its name if it fails."""
    content = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    rules = {rule.get("alert") or rule["record"]: rule for group in content["groups"] for rule in group["rules"]}
    for name, (old, new) in WRONG.items():
        assert old in rules[name]["expr"]
        rules[name]["expr"] = rules[name]["expr"].replace(old, new)
    (tmp_path / RULES.name).write_text(yaml.safe_dump(content))
    shutil.copy(RULES_TEST, tmp_path)
    tested = promtool("test", "rules", tmp_path / RULES_TEST.name)
    assert tested.returncode == 1
    # This one stands on the recorded rule.
    wrong = {"MyceliumSlowDelivery", *(name for name in WRONG if ":" not in name)}
    assert set(re.findall(r"alertname: (\w+)", tested.stdout)) == wrong


def exposition(port: int, accept: str) -> tuple[str, str]:
    """What a process says of itself, and the form that it says it in."""
    headers = {"authorization": f"Bearer {TOKEN}", "accept": accept}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode(), answer.headers["content-type"]


def check_exposition(port: int) -> None:
    """Both forms are what their readers want. promtool reads but the older one, and finds fault with names too."""
    text, form = exposition(port, "text/plain;version=0.0.4")
    assert form.startswith("text/plain")
    checked = promtool("check", "metrics", given=text)
    assert (checked.returncode, checked.stdout) == (0, "")
    text, form = exposition(port, "application/openmetrics-text;version=1.0.0")
    assert form.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = list(open_metrics(text))  # type: ignore[no-untyped-call]
    assert len(families) > 10


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Watcher:
    """A Prometheus with our rules, which looks every second.

    Args:
        directory: for its files.
        targets: the ports of the processes.
    """

    def __init__(self, directory: Path, *targets: int) -> None:
        assert PROMETHEUS is not None
        (self._port,) = free_ports(1)
        token = directory / "token-of-the-watcher"
        token.write_text(TOKEN)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "mycelium",
                    "authorization": {"credentials_file": str(token)},
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}],
                }
            ],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = (directory / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            said = json.load(answer)
        assert said["status"] == "success"
        return said["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of an expression, by its labels but for job and instance."""
        found = {}
        for sample in self.ask("query", query=expression)["result"]:
            labels = {name: value for name, value in sample["metric"].items() if name not in ("job", "instance")}
            labels.pop("__name__", None)
            found[tuple(labels[name] for name in sorted(labels))] = float(sample["value"][1])
        return found

    def firing(self) -> set[str]:
        """The alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    def wait_for(self, expression: str, labels: tuple[str, ...] = ()) -> float:
        """The value of an expression with these labels, once there is one."""
        deadline, found = time.monotonic() + PATIENCE, {}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # it begins
                found = self.query(expression)
                if labels in found:
                    return found[labels]
            time.sleep(0.2)
        raise AssertionError(f"{expression} with {labels} was waited for: {found}")


@pytest.fixture
def watched(small_system: SmallSystem, started: Processes) -> Iterator[tuple[Watcher, Running]]:
    """The small system, in one process, with a token, and a Prometheus."""
    (port,) = free_ports(1)
    system = small_system
    system.services.write_text(SERVICES.replace("PACKAGE", system.package))
    system.change(system.topology, "[services.pinger]\nhow_many = 25", "")
    token = system.topology.with_name("token")
    token.write_text(TOKEN)
    token.chmod(0o600)
    with collector() as (_, endpoint):
        system.topology.write_text(
            f'{system.topology.read_text()}[http]\nport = {port}\ntoken_file = "token"\n'
            f'[tracing]\nendpoint = "{endpoint}"\nratio = 1.0\n'
        )
        process = started.mycelium("run", "-q", "-c", system.topology)
        process.wait_for("ready")
        watcher = Watcher(started.directory, port)
        try:
            yield watcher, process
        finally:
            watcher.close()
            process.close()


@needs_prometheus
def test_a_monolith_is_watched(watched: tuple[Watcher, Running]) -> None:
    watcher, process = watched
    assert watcher.wait_for('up{job="mycelium"}') == 1
    # Some 50 a second are published, fewer on a busy machine.
    watcher.wait_for("contract:mycelium_published_messages:rate1m > 0", ("Ping",))
    watcher.wait_for("subscription:mycelium_delivered_messages:rate1m > 0", ("ponger.on_ping",))
    assert 5 < watcher.wait_for("rate(mycelium_published_messages_total[5s]) > 5", ("Ping", "pinger")) < 60
    p50 = watcher.wait_for("subscription:mycelium_delivery_latency_seconds:p50_5m", ("ponger.on_ping",))
    p99 = watcher.wait_for("subscription:mycelium_delivery_latency_seconds:p99_5m", ("ponger.on_ping",))
    assert 0 < p50 <= p99 < 10
    assert 0 <= watcher.wait_for("instance:mycelium_event_loop_delay_seconds:p99_5m") < 10
    watcher.wait_for("mycelium_dropped_messages_total > 0", ("handler error, dead letter", "ponger.on_pong"))

    assert watcher.query("mycelium_ready") == {("pinger",): 1, ("ponger",): 1}
    assert watcher.query("mycelium_health == 1") == {("pinger", "running"): 1, ("ponger", "running"): 1}
    assert watcher.query("mycelium_ledger_missing_messages") == {(): 0}
    assert watcher.query("mycelium_queue_capacity_messages") == {("ponger",): 1024}
    assert watcher.query("mycelium_dead_letters_total")["ponger",] >= 1
    pings = watcher.query("mycelium_service_pings")["pinger",]
    lanes = watcher.query("mycelium_service_by_lane")
    assert abs(sum(lanes.values()) - pings) < 200
    assert set(lanes) == {("a", "pinger"), ("b", "pinger")}
    assert watcher.query("mycelium_intake_accepted_total")["clock", "pinger"] >= pings - 100
    assert watcher.query("process_resident_memory_bytes")[()] > 1e6
    assert len(watcher.query("mycelium_build_info")) == 1

    groups = watcher.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(expressions())
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    wait_until(lambda: watcher.firing() == {"MyceliumDeadLetters"})

    process.close()
    wait_until(lambda: watcher.query("up") == {(): 0})


@needs_prometheus
def test_from_a_bucket_to_a_trace(watched: tuple[Watcher, Running]) -> None:
    watcher, _ = watched
    name = "mycelium_delivery_latency_seconds_bucket"
    watcher.wait_for("mycelium_spans_sent_total > 0")
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        now = time.time()
        found[:] = watcher.ask("query_exemplars", query=name, start=str(now - 60), end=str(now))
        return bool(found)

    wait_until(are_there)
    for series in found:
        assert series["seriesLabels"]["subscription"] in ("ponger.on_ping", "ponger.on_pong")
        for exemplar in series["exemplars"]:
            assert re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["trace_id"])
            assert 0 <= float(exemplar["value"]) <= float(series["seriesLabels"]["le"])


@needs_promtool
def test_what_a_process_tells_is_well_formed(small_system: SmallSystem, started: Processes) -> None:
    (port,) = free_ports(1)
    system = small_system
    system.services.write_text(SERVICES.replace("PACKAGE", system.package))
    system.change(system.topology, "[services.pinger]\nhow_many = 25", "")
    system.topology.write_text(system.topology.read_text() + f"[http]\nport = {port}\n")
    process = started.mycelium("run", "-q", "-c", system.topology)
    process.wait_for("fifty")  # what handlers give up has its figures too
    check_exposition(port)


@needs_promtool
def test_what_is_not_well_formed_is_found() -> None:
    assert promtool("check", "metrics", given="mycelium_Odd_total 1\n").returncode == 3
    assert promtool("check", "metrics", given="mycelium_odd{ 1\n").returncode == 1


@needs_prometheus
def test_a_broker_is_watched(started: Processes) -> None:
    started.configure()
    (port,) = free_ports(1)
    started.config.write_text(started.config.read_text() + f"[http]\nport = {port}\n")
    broker = started.mycelium("broker", "-c", started.config)
    broker.wait_for("ready")
    watcher = Watcher(started.directory, port)
    try:
        watcher.wait_for("mycelium_journal_full")
        assert watcher.query("mycelium_ready") == {("broker",): 1, ("journal",): 1}
        assert watcher.query("mycelium_journal_disk_free_bytes")[()] > 0
        assert set(watcher.query("mycelium_broker_connections")) == {("frames",), ("control",), ("publish",)}
    finally:
        watcher.close()


@needs_prometheus
def test_every_metric_of_the_rules_is_known_to_prometheus(watched: tuple[Watcher, Running], started: Processes) -> None:
    """What a process of each kind exports, as Prometheus has understood it, holds all that rules are made of."""
    watcher, _ = watched
    started.configure()
    (port,) = free_ports(1)
    started.config.write_text(started.config.read_text() + f'[http]\nport = {port}\ntoken_file = "token"\n')
    (started.directory / "token").write_text(TOKEN)
    (started.directory / "token").chmod(0o600)
    started.mycelium("broker", "-c", started.config).wait_for("ready")
    directory = started.directory / "second"
    directory.mkdir()
    second = Watcher(directory, port)
    try:
        second.wait_for("mycelium_journal_full")
        watcher.wait_for('up{job="mycelium"}')
        # As OpenMetrics, for which it asks: there a counter's name has no _total.
        known = {*watcher.ask("metadata"), *second.ask("metadata")}
    finally:
        second.close()
    wanted = set().union(*(names_in(expression) for expression in expressions().values()))
    # What services say of themselves is in test_dashboards.py.
    wanted = {name for name in wanted if ":" not in name and not name.startswith("mycelium_service_")} - {"up"}
    wanted = {re.sub(r"_(bucket|total)$", "", name) for name in wanted}
    assert len(wanted) > 12
    assert wanted <= known, wanted - known


def test_the_rules_stand_where_the_page_says() -> None:
    assert (REPOSITORY / "compose" / "prometheus" / "rules.yml").is_file()
