"""The real system, as the README starts it: the demo, real data, damaged data, planted faults."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from contracts.signals import ArbitrageSignal
from mycelium.core.message import contract_of
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.process

CAPTURE = REPOSITORY / "adapters" / "polygon" / "captures" / "demo.jsonl.gz"


def mycelium(
    *arguments: object, cwd: Path = REPOSITORY, environment: Mapping[str, object] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mycelium", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def run(config: str, directory: Path, **environment: object) -> tuple[dict[str, Any], str]:
    """Run a topology of the repository with its report in ``directory``; the summary, and what was logged."""
    result = mycelium(
        "run",
        "--config",
        REPOSITORY / "config" / config,
        "--summary",
        directory / "summary.json",
        environment={"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": directory, **environment},
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return json.loads((directory / "summary.json").read_text()), result.stderr


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_demo_finds_signals_and_its_books_balance(tmp_path: Path) -> None:
    summary, _ = run("monolith.toml", tmp_path)
    signals = lines(tmp_path / "signals.jsonl")
    assert summary["ledger"]["balanced"] is True
    assert summary["signals"] == len(signals) == summary["published"]["ArbitrageSignal"] > 0
    assert summary["events"] == summary["published"]["SwapEvent"] > 0
    assert summary["rate_per_s"] > 0
    assert 0 < summary["latency_us"]["p50"] <= summary["latency_us"]["p99"]
    assert not summary["ledger"]["dropped"]
    positions = [(signal["block"], signal["log_index"]) for signal in signals]
    assert positions == sorted(positions)
    for signal in signals:
        hops = signal["hops"]
        assert [hop["amount_in"] for hop in hops[1:]] == [hop["amount_out"] for hop in hops[:-1]]
        assert hops[0]["token_in"] == hops[-1]["token_out"]
        gross = int(hops[-1]["amount_out"]) - int(hops[0]["amount_in"])
        net = gross - int(signal["flash_premium"]) - int(signal["gas_cost"])
        assert (gross, net) == (int(signal["gross_profit"]), int(signal["net_profit"]))
        assert net > 0
        # A branch stands there when it is not the first.
        assert {*signal, "branch"} == {field.name for field in contract_of(ArbitrageSignal).fields}


def test_the_same_capture_gives_the_same_signals_byte_for_byte(tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        run("monolith.toml", tmp_path / seed, PYTHONHASHSEED=seed)
        written.append((tmp_path / seed / "signals.jsonl").read_bytes())
    assert written[0] == written[1]


def test_a_day_of_a_real_pool_is_published_whole(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "polygon_uniswap_v3" / "2022-01-05_usdc-weth-005.raw.csv.gz"
    if not source.is_file():
        pytest.skip(f"recorded chain data is not there: {source.name}")
    summary, _ = run("polygon-recorded.toml", tmp_path)
    assert summary["published"]["SwapEvent"] == summary["events"] == 3972
    subscriptions = summary["ledger"]["subscriptions"]
    assert subscriptions["flash_arbitrage.on_swap"]["delivered"] == 3972
    assert summary["ledger"]["balanced"] is True
    assert not summary["ledger"]["dropped"]
    assert summary["ledger"]["intake"]["polygon_adapter.capture"]["read"] == 4158


def capture_lines() -> list[Any]:
    with gzip.open(CAPTURE, "rt") as file:
        return [json.loads(line) for line in file]


def logs_of(line: Any) -> list[dict[str, Any]]:
    result = line["result"] if isinstance(line, dict) and "result" in line else line
    return result if isinstance(result, list) else [result]


def write_capture(path: Path, content: list[Any]) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in content)
    return path


SYNC = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"


def test_bad_logs_are_counted_reported_with_their_position_and_skipped(tmp_path: Path) -> None:
    header, *content = capture_lines()
    logs = [log for line in content for log in logs_of(line)]
    syncs = [number for number, log in enumerate(logs) if log["topics"][0] == SYNC]
    malformed, impossible, unknown = syncs[10], syncs[20], syncs[30]
    logs[malformed] = {**logs[malformed], "data": "0xzz"}
    logs[impossible] = {**logs[impossible], "data": "0x" + "ff" * 64}
    logs[unknown] = {**logs[unknown], "address": "0x" + "12" * 20}
    capture = write_capture(tmp_path / "bad.jsonl.gz", [header, *logs, "this is no JSON"])
    summary, logged = run("monolith.toml", tmp_path, MYCELIUM_SERVICES__POLYGON_ADAPTER__SOURCE=capture)
    intake = summary["ledger"]["intake"]["polygon_adapter.capture"]
    assert intake["refused"] == {
        "impossible_state": 1,
        "malformed_line": 1,
        "malformed_log": 1,
        "unknown_pool": 1,
    }
    assert intake["read"] == len(logs) + 1
    assert summary["ledger"]["balanced"] is True
    assert summary["signals"] > 0
    for number, cause in ((malformed, "malformed_log"), (impossible, "impossible_state"), (unknown, "unknown_pool")):
        assert any(f"line {number + 2}" in line and cause in line for line in logged.splitlines()), (cause, logged)


def test_an_unknown_token_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    header, *content = capture_lines()
    header["tokens"] = header["tokens"][1:]
    capture = write_capture(tmp_path / "token.jsonl.gz", [header, *content])
    summary, _ = run("monolith.toml", tmp_path, MYCELIUM_SERVICES__POLYGON_ADAPTER__SOURCE=capture)
    assert summary["ledger"]["intake"]["polygon_adapter.capture"]["refused"]["unknown_token"] > 0
    assert summary["ledger"]["balanced"] is True
    assert summary["events"] > 0


def test_a_truncated_capture_gives_what_is_readable(tmp_path: Path) -> None:
    capture = tmp_path / "cut.jsonl.gz"
    capture.write_bytes(CAPTURE.read_bytes()[:200_000])
    summary, logged = run("monolith.toml", tmp_path, MYCELIUM_SERVICES__POLYGON_ADAPTER__SOURCE=capture)
    assert summary["ledger"]["intake"]["polygon_adapter.capture"]["refused"]["truncated_capture"] == 1
    assert "truncated_capture" in logged
    assert summary["ledger"]["balanced"] is True
    assert summary["events"] > 100


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), (b"", "header"), (b"{}\n", "capture: is missing"), (b"\x1f\x8brubbish", "cut.jsonl.gz")],
    ids=["missing", "empty", "no header", "no gzip"],
)
def test_an_unusable_capture_is_the_users_mistake(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    capture = tmp_path / "cut.jsonl.gz"
    if content is not None:
        capture.write_bytes(content)
    result = mycelium(
        "run",
        "-c",
        "config/monolith.toml",
        environment={
            "MYCELIUM_SERVICES__POLYGON_ADAPTER__SOURCE": capture,
            "MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": tmp_path,
        },
    )
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_stops_the_run_with_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, which stands in for a full disk")
    (tmp_path / "signals.jsonl").symlink_to("/dev/full")
    result = mycelium(
        "run",
        "-c",
        "config/monolith.toml",
        "--summary",
        tmp_path / "summary.json",
        environment={"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": tmp_path},
    )
    assert result.returncode == 1
    assert "service run_report failed: PathError: " in result.stderr
    assert "signals.jsonl: cannot be written: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    ledger = json.loads((tmp_path / "summary.json").read_text())["ledger"]
    assert ledger["balanced"] is True
    assert ledger["dropped"]["handler error, dead letter"] > 0


def test_a_directory_that_cannot_be_made_is_the_users_mistake() -> None:
    result = mycelium(
        "run", "-c", "config/monolith.toml", environment={"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": "/dev/null/x"}
    )
    assert result.returncode == 2
    assert "services.run_report.directory: cannot be written to: " in result.stderr
    assert "Traceback" not in result.stderr


def test_one_service_of_the_real_system_runs_alone(tmp_path: Path) -> None:
    result = mycelium("run", "polygon_adapter", "-c", "config/monolith.toml", "--summary", tmp_path / "s.json")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["ledger"]["unread"] == sum(summary["published"].values()) > 0


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of everything that the spec speaks of."""
    for name in ("contracts", "adapters", "strategies", "config"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("system.yaml", "system.lock"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def plant(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_copy_agrees(copy: Path) -> None:
    result = mycelium("spec", "check", cwd=copy)
    assert result.returncode == 0, result.stderr


def test_a_service_that_publishes_an_undeclared_type_is_found(copy: Path) -> None:
    service = copy / "strategies" / "flash_arbitrage" / "service.py"
    plant(service, "publishes = (ArbitrageSignal,)", "publishes = (ArbitrageSignal, SwapEvent)")
    result = mycelium("spec", "check", cwd=copy)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        (
            "system.yaml: services.flash_arbitrage.publishes: does not have SwapEvent, "
            "which strategies.flash_arbitrage.service.FlashArbitrage declares in publishes"
        )
    ]


def test_a_changed_contract_field_is_found(copy: Path) -> None:
    plant(copy / "contracts" / "market.py", "amount1: I256\n    branch", "amount1: U256\n    branch")
    result = mycelium("spec", "check", cwd=copy)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "system.yaml: contracts.SwapEvent.fields.amount1 = 'I256': contracts.market.SwapEvent says amount1: U256",
        (
            "system.lock: contracts.SwapEvent.fields.8 = 'amount1: I256': the code says 'amount1: U256'; "
            "fields are only appended, never changed, moved or removed"
        ),
    ]


def test_a_service_cannot_publish_what_it_does_not_declare(copy: Path) -> None:
    """The spec check reads declarations; what the code really does is held to them while it runs."""
    service = copy / "strategies" / "flash_arbitrage" / "service.py"
    plant(
        service,
        '"""Take in a trade."""',
        "await self.publish(event)",
    )
    plant(service, "@handles(SwapEvent)", "@handles(SwapEvent, retry=__import__('mycelium').Retry(attempts=1))")
    result = mycelium("run", "-c", "config/monolith.toml", "--log-level", "error", cwd=copy)
    assert "service flash_arbitrage publishes SwapEvent but declares ArbitrageSignal" in result.stderr
    assert "handler error, dead letter" in result.stdout
