"""What the page about ``mycelium tap`` shows is what it answers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mycelium.core.delivery.joining import Start
from mycelium.transport.ports import free_ports
from tests.docs.console import commands_of, run, trimmed
from tests.docs.pages import DOCS, EXAMPLES
from tests.processes.running import processes

PAGE = DOCS / "how-to" / "read-along.md"

_VARIES = re.compile(r'"time":"[^"]*"|"epoch":"\d*"|^\d\d:\d\d:\d\d\.\d{6}', re.MULTILINE)

TOPOLOGY = """
[deployment]
base = "monolith.toml"
mode = "distributed"
state_dir = "state"

[[bundles]]
name = "all"
services = ["thermometer"]

[[bundles]]
name = "other"
services = ["watcher"]

[broker]
frames_port = {}
control_port = {}
publish_port = {}
"""


@pytest.mark.process
def test_what_is_typed(tmp_path: Path) -> None:
    system = shutil.copytree(EXAMPLES / "first_system", tmp_path / "s", ignore=shutil.ignore_patterns("__pycache__"))
    config = system / "config" / "distributed.toml"
    config.write_text(TOPOLOGY.format(*free_ports(3)))
    typed = list(commands_of(PAGE))
    assert len(typed) == 2
    with processes(system) as started:
        started.mycelium("broker", "--config", config).wait_for("ready")
        other = started.mycelium("run", "--bundle", "other", "--config", config, "--quiet")
        publisher = started.mycelium("run", "--bundle", "all", "--config", config, "--quiet")
        for block, command, output in typed:
            done = run(command, system)
            assert done.returncode == 0, done.stderr + publisher.text + other.text
            assert trimmed(_VARIES.sub("…", done.stdout)) == trimmed(_VARIES.sub("…", output)), block


def test_where_to_begin_is_all_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{start}` |" in text for start in Start if start is not Start.TIME)
