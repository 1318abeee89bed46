"""``mycelium run`` as a user starts it: its end, its signals, its mistakes, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mycelium import __version__
from mycelium.cli.main import app
from tests.conftest import REPOSITORY
from tests.systems import SmallSystem

pytestmark = pytest.mark.process


def mycelium(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mycelium", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def started(system: SmallSystem, *arguments: object) -> subprocess.Popen[str]:
    """A running process that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mycelium", "run", "-c", str(system.topology), *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "ready" in line:
            return process
    raise AssertionError("the process ended before it was ready")


def test_a_run_ends_by_itself_and_leaves_its_figures(small_system: SmallSystem) -> None:
    summary = small_system.root / "made" / "summary.json"
    result = mycelium("run", "-c", small_system.topology, "--summary", summary)
    assert result.returncode == 0, result.stderr
    figures = json.loads(summary.read_text())
    assert (figures["events"], figures["signals"]) == (25, 25)
    assert figures["published"] == {"Ping": 25, "Pong": 25}
    assert figures["ledger"]["balanced"] is True
    assert set(figures) >= {"events", "published", "signals", "rate_per_s", "latency_us", "ledger"}
    assert "✓ the ledger balances" in result.stdout
    assert "Traceback" not in result.stderr


def test_one_service_runs_alone(small_system: SmallSystem) -> None:
    summary = small_system.root / "summary.json"
    result = mycelium("run", "pinger", "-c", small_system.topology, "--summary", summary)
    assert result.returncode == 0, result.stderr
    figures = json.loads(summary.read_text())
    assert figures["published"] == {"Ping": 25}
    assert figures["ledger"]["unread"] == 25


@pytest.mark.parametrize(
    ("mode", "arguments", "complaint"),
    [
        ("bundled", [], "mode 'bundled' runs each bundle in a process of its own; name one: all, rest"),
        ("distributed", [], "mode 'distributed' runs each bundle in a process of its own; name one: all, rest"),
        ("bundled", ["--bundle", "some"], "all.toml: bundles = 'some': has no such bundle; those are all, rest"),
        ("bundled", ["pinger", "--bundle", "all"], "a service is named already; leave one of them out"),
        ("monolith", ["--bundle", "all"], "mode 'monolith' runs all bundles in one process; leave --bundle out"),
    ],
)
def test_which_bundle_a_process_runs_is_said_where_it_must_be(
    small_system: SmallSystem, mode: str, arguments: list[str], complaint: str
) -> None:
    rest = '["pinger"]\n[[bundles]]\nname = "rest"\nservices = ["ponger"]\n[broker]'
    small_system.change(small_system.topology, '["pinger", "ponger"]', rest)
    small_system.change(small_system.topology, '"monolith"', f'"{mode}"')
    result = mycelium("run", "-c", small_system.topology, *arguments, environment={"COLUMNS": "200"})
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_drains_and_loses_nothing(small_system: SmallSystem, number: signal.Signals, code: int) -> None:
    small_system.change(small_system.topology, "how_many = 25", "how_many = 1_000_000_000")
    summary = small_system.root / "summary.json"
    process = started(small_system, "--summary", summary)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    figures = json.loads(summary.read_text())
    assert figures["published"]["Ping"] == figures["published"]["Pong"] > 0
    assert figures["ledger"]["balanced"] is True
    assert figures["ledger"]["dropped"] == {}
    assert figures["drained"] is True


def test_a_service_that_only_reacts_waits_for_the_signal(small_system: SmallSystem) -> None:
    process = started(small_system, "ponger")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_second_ctrl_c_ends_at_once(small_system: SmallSystem) -> None:
    small_system.change(
        small_system.services,
        "await self.publish(Pong",
        "import asyncio; await asyncio.Event().wait()\n        await self.publish(Pong",
    )
    small_system.change(small_system.topology, "[[bundles]]", "drain_seconds = 600\n\n[[bundles]]")
    process = started(small_system)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("stopping" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_draining_that_takes_too_long_is_an_error_and_counted(small_system: SmallSystem) -> None:
    small_system.change(
        small_system.services,
        "await self.publish(Pong",
        "import asyncio; await asyncio.Event().wait()\n        await self.publish(Pong",
    )
    small_system.change(small_system.topology, "[[bundles]]", "drain_seconds = 0.2\n\n[[bundles]]")
    summary = small_system.root / "summary.json"
    result = mycelium("run", "-c", small_system.topology, "--summary", summary)
    assert result.returncode == 1
    assert "draining took too long" in result.stderr
    figures = json.loads(summary.read_text())
    assert figures["drained"] is False
    assert figures["ledger"]["balanced"] is True
    assert figures["ledger"]["dropped"] == {"subscription closed": 24}


def test_a_service_that_fails_is_named_and_its_error_told(small_system: SmallSystem) -> None:
    small_system.change(
        small_system.services, "for number in range", "raise OSError('no cable')\n        for number in range"
    )
    result = mycelium("run", "-c", small_system.topology)
    assert result.returncode == 1
    assert "service pinger failed: OSError: no cable" in result.stderr


WRONG = {
    "no file": (["-c", "none.toml"], "error: none.toml: cannot be read: No such file or directory"),
    "unknown service": (["nobody"], "= 'nobody': places no such service; placed are pinger, ponger"),
    "log level": (["--log-level", "loud"], "'loud' is no level; choose debug, info, warning or error"),
    "summary in no directory": (["--summary", "/dev/null/x/summary.json"], "its directory cannot be made"),
    "summary is a directory": (["--summary", "/"], "cannot be written"),
    "unknown option": (["--sumary", "x"], "No such option"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_a_user_got_wrong_is_one_sentence_and_exit_code_2(
    small_system: SmallSystem, case: tuple[list[str], str]
) -> None:
    arguments, complaint = case
    result = mycelium("run", "-c", small_system.topology, *arguments, environment={"COLUMNS": "200"})
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


MALFORMED = {
    "topology": ("topology", 'mode = "monolith"', "mode = ", "is not TOML"),
    "mode": ("topology", "monolith", "clustered", "should be 'monolith', 'bundled' or 'distributed'"),
    "spec": ("spec", "system: test", "system: [", "is not YAML"),
    "setting": ("topology", "how_many = 25", "how_many = -x", "is not TOML"),
    "setting's value": ("topology", "how_many = 25", 'how_many = "x"', "services.pinger.how_many = 'x'"),
    "placement": ("topology", '"ponger"]', '"pongo"]', "= 'pongo': is no service of system.yaml"),
    "code": ("services", "class Pinger(", "class Pingu(", "has no Pinger"),
    "syntax": ("services", "class Pinger(", "class (", "cannot be imported: SyntaxError"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_named_with_exit_code_2(small_system: SmallSystem, case: tuple[str, str, str, str]) -> None:
    place, old, new, complaint = case
    small_system.change(getattr(small_system, place), old, new)
    result = mycelium("run", "-c", small_system.topology)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_a_summary_that_cannot_be_written_is_an_error(small_system: SmallSystem) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, which stands in for a full disk")
    target = small_system.root / "summary.json.partial"
    target.symlink_to("/dev/full")
    result = mycelium("run", "-c", small_system.topology, "--summary", small_system.root / "summary.json")
    assert result.returncode == 1
    assert "summary.json: cannot be written: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_logs_are_json(small_system: SmallSystem) -> None:
    result = mycelium("run", "-c", small_system.topology, "--log-format", "json", "-q")
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["ready"]
    assert not result.stdout


def test_no_colours_where_nobody_sees_them(small_system: SmallSystem) -> None:
    result = mycelium("run", "-c", small_system.topology)
    assert "\x1b[" not in result.stdout + result.stderr


def test_version_and_help() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).stdout == f"mycelium {__version__}\n"
    help_text = runner.invoke(app, ["run", "--help"]).stdout
    assert "Exit codes" in help_text
    assert "Examples" in help_text
