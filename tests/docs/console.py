"""Types what a page shows as typed into a terminal."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.docs.pages import REPOSITORY, Block, blocks_of

# Figures of the run at hand: time and speed.
_VARIES = re.compile(r"^(rate|latency)\b.*", re.MULTILINE)


def commands_of(page: Path) -> Iterator[tuple[Block, str, str]]:
    """Each command of a page's console blocks, with the output below it."""
    for block in blocks_of(page):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield block, command, output


def run(command: str, directory: Path, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a ``mycelium`` command, with variables before it or without, in a terminal of 80 columns."""
    words = shlex.split(command)
    variables = dict(extra or {})
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    assert words.pop(0) == "mycelium", command
    mine = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "80", **variables}
    others = {name: value for name, value in os.environ.items() if not name.startswith("MYCELIUM_")}
    return subprocess.run(
        [sys.executable, "-m", "mycelium", *words],
        cwd=directory,
        env={**others, **mine},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def trimmed(text: str) -> str:
    """Output as a page shows it: no blanks at the ends of lines, no empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def without_figures(text: str) -> str:
    """Output without what is different in every run: time, speed, and how wide the column gets that they stand in."""
    return trimmed(re.sub(" {2,}", "  ", _VARIES.sub(r"\1", text)))
