"""Writes what the documentation shows of programs anew: ``python -m tests.docs.refresh``. Look at the difference after.

The output beside each example and in the pages that show it, the demo's figures in the README, and the reference of the
command line. Not the tutorial and the guides: their text speaks about what is shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs import command_line
from tests.docs.console import run, trimmed
from tests.docs.pages import EXAMPLES, PAGES, REPOSITORY, blocks_of


def main() -> None:
    """Refresh all of it."""
    for program in sorted(EXAMPLES.glob("*.py")):
        _refresh_output(program)
    _refresh_demo()
    command_line.PAGE.write_text(command_line.render(), encoding="utf-8")


def _refresh_output(program: Path) -> None:
    file = program.with_suffix(".out")
    old = file.read_text(encoding="utf-8") if file.is_file() else ""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, check=True, text=True)
    file.write_text(done.stdout, encoding="utf-8")
    for page in PAGES:
        _replace(page, f"```output\n{old}```", f"```output\n{done.stdout}```")


def _refresh_demo() -> None:
    readme = REPOSITORY / "README.md"
    (block,) = (block for block in blocks_of(readme) if "the ledger balances" in block.text)
    with tempfile.TemporaryDirectory() as elsewhere:
        printed = run(
            "mycelium run --config config/monolith.toml",
            REPOSITORY,
            {"MYCELIUM_SERVICES__RUN_REPORT__DIRECTORY": elsewhere},
        ).stdout
    _replace(readme, block.text, trimmed(printed) + "\n")


def _replace(page: Path, old: str, new: str) -> None:
    text = page.read_text(encoding="utf-8")
    if old != new and old in text:
        page.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    main()
