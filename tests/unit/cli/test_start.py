"""Whoever starts a command pays for what that command needs, and for nothing else."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("opentelemetry", "requests", "starlette", "textual", "uvicorn")


def test_the_command_line_loads_nothing_heavy() -> None:
    program = f"import sys, mycelium.cli.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
