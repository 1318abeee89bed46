"""A topology that is changed while processes run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.transport.ports import free_ports
from tests.chaos.controller import SPEC

pytestmark = pytest.mark.process


@pytest.fixture
def config(tmp_path: Path) -> Path:
    frames, control, publish = free_ports(3)
    (tmp_path / "system.yaml").write_text(SPEC)
    path = tmp_path / "distributed.toml"
    path.write_text(
        '[deployment]\nmode = "distributed"\nstate_dir = "state"\n'
        '[[bundles]]\nname = "all"\nservices = ["chaos"]\n[logging]\nlevel = "info"\n'
        f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n"
    )
    return path


@pytest.fixture
def broker(config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mycelium", "broker", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(process, "ready")
    yield process
    process.kill()
    process.communicate()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """The next log line that says ``text``. The test's own time limit ends a wait in vain."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"the process ended without saying {text!r}")


def change(config: Path, old: str, new: str) -> None:
    """As editors do it: a new file takes the place of the old one."""
    text = config.read_text()
    assert old in text
    fresh = config.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.replace(config)


def test_a_changed_file_is_taken_up_by_itself(config: Path, broker: subprocess.Popen[str]) -> None:
    change(config, "[broker]", "[broker]\nmax_age_seconds = 60")
    line = wait_for(broker, "is taken up")
    assert "broker.max_age_seconds" in line
    assert "60" in line


def test_a_signal_does_the_same(config: Path, broker: subprocess.Popen[str]) -> None:
    # The same times as before, as on a file system that is mounted from elsewhere: only the signal tells.
    before = config.stat()
    text = config.read_text().replace('level = "info"', 'level = "debug"')
    config.write_text(text)
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    broker.send_signal(signal.SIGHUP)
    assert "logging.level" in wait_for(broker, "is taken up")


def test_what_needs_a_restart_is_refused_with_a_sentence(config: Path, broker: subprocess.Popen[str]) -> None:
    change(config, "[broker]", '[broker]\ndurability = "frame"\nmax_age_seconds = 60')
    line = wait_for(broker, "needs a restart")
    assert "broker.durability" in line
    change(config, 'durability = "frame"\n', "")
    assert "max_age_seconds" in wait_for(broker, "is taken up")


def test_a_wrong_file_changes_nothing(config: Path, broker: subprocess.Popen[str]) -> None:
    change(config, "[broker]", "[broker]\nmax_age_seconds = -1")
    assert "broker.max_age_seconds" in wait_for(broker, "not taken up")
    change(config, "max_age_seconds = -1", "max_age_seconds = 5")
    assert "max_age_seconds" in wait_for(broker, "is taken up")
    broker.send_signal(signal.SIGTERM)
    assert broker.wait(20) == 0
