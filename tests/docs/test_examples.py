"""Every example runs and prints what stands beside it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.docs.pages import EXAMPLES

PROGRAMS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_example(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out == program.with_suffix(".out").read_text(encoding="utf-8")


def test_the_examples_are_all_there() -> None:
    assert len(PROGRAMS) >= 14
    assert [file.stem for file in PROGRAMS] == sorted(file.stem for file in EXAMPLES.glob("*.out"))
