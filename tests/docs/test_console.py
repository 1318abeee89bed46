"""What a page shows as typed into a terminal is typed, and answers what the page says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, EXAMPLES, REPOSITORY, Block, blocks_of

TUTORIAL = DOCS / "tutorials" / "first-service.md"
FILES = EXAMPLES / "first_system"
# Figures of the run at hand: time and speed.
_VARIES = re.compile(r"^(rate|latency)\b.*", re.MULTILINE)


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _run(command: str, directory: Path) -> str:
    """What a command prints on standard output; logs and errors go elsewhere."""
    words = shlex.split(command)
    variables = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    assert words.pop(0) == "mycelium"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYCELIUM_")}
    done = subprocess.run(
        [sys.executable, "-m", "mycelium", *words],
        cwd=directory,
        env={
            **environment,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "80",
            **variables,
        },
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def _without_figures(text: str) -> str:
    return "\n".join(line.rstrip() for line in _VARIES.sub(r"\1", text).strip().splitlines())


@pytest.mark.process
def test_tutorial(tmp_path: Path) -> None:
    """The tutorial from top to bottom in a copy of its files."""
    system = shutil.copytree(FILES, tmp_path / "first_system", ignore=shutil.ignore_patterns("__pycache__"))
    typed = [pair for block in blocks_of(TUTORIAL) if block.language == "console" for pair in _commands(block)]
    assert len(typed) >= 4
    for command, output in typed:
        assert _without_figures(_run(command, system)) == _without_figures(output), command


def test_tutorial_shows_its_files() -> None:
    shown = {block.text for block in blocks_of(TUTORIAL)}
    files = [file for file in FILES.rglob("*") if file.suffix in (".py", ".toml", ".yaml")]
    assert len(files) == 5
    assert [file.name for file in files if file.read_text(encoding="utf-8") not in shown] == []


@pytest.mark.process
def test_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    (block,) = (block for block in blocks_of(REPOSITORY / "README.md") if "the ledger balances" in block.text)
    command = f"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY={tmp_path} mycelium run --config config/monolith.toml"
    printed = _without_figures(_run(command, REPOSITORY))
    assert _without_figures(block.text) in printed
