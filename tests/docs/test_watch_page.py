"""What the page about ``mycelium top`` shows is what it answers, and it leaves out no table, column and key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mycelium.cli import top_rows
from mycelium.cli.top_screen import KEYS, NAMES
from mycelium.transport.ports import free_ports
from tests.docs.console import commands_of, run
from tests.docs.pages import DOCS, EXAMPLES
from tests.docs.test_read_along import TOPOLOGY
from tests.processes.running import processes

PAGE = DOCS / "how-to" / "watch-a-running-system.md"

_FIGURE = re.compile(r"(?<![\w.-])(?:[\d,]+(?:\.\d+)?(?:µs|ms|s|%|B|[KMGT]iB)?|–)(?![\w.])")


def without_figures(output: str) -> list[str]:
    """Lines without what is different in every run, and how wide columns get by that."""
    lines = (re.sub(r" +", " ", _FIGURE.sub("#", line)).strip() for line in output.splitlines())
    return [line for line in lines if line]


@pytest.mark.process
def test_what_is_typed(tmp_path: Path) -> None:
    system = shutil.copytree(EXAMPLES / "first_system", tmp_path / "s", ignore=shutil.ignore_patterns("__pycache__"))
    config = system / "config" / "distributed.toml"
    config.write_text(TOPOLOGY.format(*free_ports(3)))
    ((block, command, output),) = commands_of(PAGE)
    with processes(system) as started:
        started.mycelium("broker", "--config", config).wait_for("ready")
        other = started.mycelium("run", "--bundle", "other", "--config", config, "--quiet")
        publisher = started.mycelium("run", "--bundle", "all", "--config", config, "--quiet")
        assert publisher.wait() == 0, publisher.text
        done = run(command, system)
    assert done.returncode == 0, done.stderr + other.text
    assert without_figures(done.stdout) == without_figures(output), block


def test_no_table_and_no_column_is_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"**{name}**" not in text] == []
    columns = (*top_rows.PROCESSES, *top_rows.SERVICES, *top_rows.STREAMS, *top_rows.SUBSCRIPTIONS, *top_rows.LEDGER)
    assert [column.title for column in columns if f"`{column.title}`" not in text] == []


def test_no_key_is_left_out() -> None:
    rows = re.findall(r"^\| (`.+`) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    names = {"↵": "enter", "esc": "escape"}
    assert {names.get(key, key) for key, _ in KEYS} <= shown
