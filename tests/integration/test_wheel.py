"""The wheel, with a compiler and without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.process


def build(directory: Path, **environment: str) -> Path:
    """The wheel of a copy of the sources, so that what is in use stays as it is."""
    source = directory / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("mycelium", "tools"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=source, env={**os.environ, **environment}, check=True, capture_output=True, timeout=100)
    (wheel,) = directory.glob("*.whl")
    return wheel


def compiled_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if name.startswith("mycelium/core/_codec.") and "pyi" not in name]


def test_without_a_compiler_it_is_for_any_platform(tmp_path: Path) -> None:
    """A compiler that is not there, and one that is not wanted."""
    missing = build(tmp_path, CC="/nonexistent/cc")
    assert missing.name.endswith("-py3-none-any.whl")
    assert compiled_in(missing) == ["mycelium/core/_codec.c"]


def test_where_it_is_not_wanted_nothing_is_compiled(tmp_path: Path) -> None:
    assert build(tmp_path, MYCELIUM_WITHOUT_COMPILER="1").name.endswith("-py3-none-any.whl")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_with_a_compiler_it_has_the_codec(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    assert not wheel.name.endswith("-py3-none-any.whl")
    assert len(compiled_in(wheel)) == 2
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    code = "from mycelium.core import envelope; print(envelope.IS_COMPILED, envelope.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=unpacked, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert said.split() == ["True", str(unpacked / "mycelium/core/envelope.py")]
