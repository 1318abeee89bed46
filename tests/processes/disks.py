"""A small disk: what a test needs to see one that is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(directory: Path, options: str) -> None:
    """Mount a file system in memory; skip the test where that is not allowed."""
    command = shutil.which("mount")
    if command is None or os.geteuid() != 0:
        pytest.skip("a small disk needs the mount command and root")
    arguments: list[str | Path] = [command, "-t", "tmpfs", "-o", options, "tmpfs", directory]
    done = subprocess.run(arguments, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.decode().strip()}")


@contextlib.contextmanager
def mounted(directory: Path, size: str) -> Iterator[Path]:
    """A disk of a size, such as ``4m``."""
    directory.mkdir()
    mount(directory, f"size={size}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
