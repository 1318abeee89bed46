"""What a page shows as typed into a terminal answers what the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.console import commands_of, run, without_figures
from tests.docs.pages import DOCS, EXAMPLES, REPOSITORY, blocks_of

TUTORIAL = DOCS / "tutorials" / "first-service.md"
FILES = EXAMPLES / "first_system"


@pytest.mark.process
def test_tutorial(tmp_path: Path) -> None:
    """The tutorial from top to bottom in a copy of its files, and the mistake at its end."""
    system = shutil.copytree(FILES, tmp_path / "first_system", ignore=shutil.ignore_patterns("__pycache__"))
    typed = list(commands_of(TUTORIAL))
    assert len(typed) >= 4
    for block, command, output in typed:
        assert without_figures(run(command, system).stdout) == without_figures(output), block

    messages = system / "messages.py"
    messages.write_text(messages.read_text(encoding="utf-8").replace("millidegrees: int", "millidegrees: float"))
    check = run("mycelium spec check", system)
    assert check.returncode == 1
    assert check.stderr in {block.text for block in blocks_of(TUTORIAL)}


def test_tutorial_shows_its_files() -> None:
    shown = {block.text for block in blocks_of(TUTORIAL)}
    files = [file for file in FILES.rglob("*") if file.suffix in (".py", ".toml", ".yaml")]
    assert len(files) == 5
    assert [file.name for file in files if file.read_text(encoding="utf-8") not in shown] == []


@pytest.mark.process
def test_run_on_recorded_data(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "run-on-recorded-data.md"
    topology = (EXAMPLES / "own_capture.toml").read_text(encoding="utf-8")
    assert topology in {block.text for block in blocks_of(page)}
    ((block, command, output),) = commands_of(page)
    done = run(command, REPOSITORY, {"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(tmp_path)})
    assert done.returncode == 0
    assert without_figures(done.stdout) == without_figures(output), block


@pytest.mark.process
def test_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    (block,) = (block for block in blocks_of(REPOSITORY / "README.md") if "the ledger balances" in block.text)
    elsewhere = {"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": str(tmp_path)}
    done = run("mycelium run --config config/monolith.toml", REPOSITORY, elsewhere)
    assert without_figures(done.stdout) == without_figures(block.text), "run 'python -m tests.docs.refresh'"
