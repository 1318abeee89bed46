"""The same system gives the same bytes as one process, as several, and through a broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FILES = ("signals.jsonl", "prices.jsonl", "pools.jsonl")

pytestmark = pytest.mark.process


def demo(mode: str, directory: Path) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-m", "mycelium", "demo", "--mode", mode, "--summary", str(directory / "summary.json")],
        cwd=REPOSITORY,
        env={**os.environ, "MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(directory)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    summary: dict[str, object] = json.loads((directory / "summary.json").read_text())
    return summary


@pytest.mark.parametrize("mode", ["bundled", "distributed"])
def test_every_mode_leaves_the_same_bytes_as_the_monolith(tmp_path: Path, mode: str) -> None:
    expected = demo("monolith", tmp_path / "monolith")
    summary = demo(mode, tmp_path / mode)
    for name in FILES:
        assert (tmp_path / mode / name).read_bytes() == (tmp_path / "monolith" / name).read_bytes(), name
    assert summary.keys() == expected.keys()
    for key in ("events", "signals", "published"):
        assert summary[key] == expected[key]
    ledger, wanted = summary["ledger"], expected["ledger"]
    assert isinstance(ledger, dict)
    assert isinstance(wanted, dict)
    assert (ledger["balanced"], ledger["dropped"]) == (True, {})
    assert ledger["subscriptions"] == wanted["subscriptions"]
