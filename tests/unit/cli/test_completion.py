"""What the shell offers while a command is typed, as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def offered(line: str, **environment: str) -> list[str]:
    """The words that bash would offer for the last one of this line."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mycelium"))],
        cwd=REPOSITORY,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": str(REPOSITORY),
            "_MYCELIUM_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mycelium le", ["ledger"]),
        ("mycelium journal ", ["check", "salvage", "export"]),
        ("mycelium tap --whe", ["--where"]),
        ("mycelium run pol", ["polygon_adapter"]),
        ("mycelium run --config config/distributed.toml --bundle ma", ["market"]),
        ("mycelium tap --type Pool", ["PoolMetadata", "PoolSync"]),
        ("mycelium ledger --as le", ["ledger"]),
        ("mycelium run --config config/nowhere.toml --bundle ", []),
    ],
)
def test_bash_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_the_topology_may_be_named_by_the_environment(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[deployment\n")
    assert offered("mycelium run --bundle ma", MYCELIUM_CONFIG="config/distributed.toml") == ["market"]
    assert offered("mycelium run --bundle ma", MYCELIUM_CONFIG=str(wrong)) == []
