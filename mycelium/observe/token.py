"""The token that shows who may see what a process serves over HTTP."""

from __future__ import annotations

import os
import stat
from pathlib import Path

SHORTEST_TOKEN = 32
"""Characters. Chosen by us: 128 bits where a program has chosen them, written in hexadecimal."""
_LONGEST_TOKEN = 1024
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


def read_token(path: Path) -> str:
    """The token in a file. What is wrong is said without it.

    Args:
        path: of the file; only its owner may read it.

    Raises:
        OSError: it cannot be read.
        ValueError: others can read it, or it holds no token.
    """
    # Not to wait for a writer, should it be a pipe.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("is no file")
        if mode & _OTHERS:
            raise ValueError(
                f"can be read by others or written by its group (mode {stat.S_IMODE(mode):04o}); chmod 600"
            )
        text = file.read(_LONGEST_TOKEN + 1).strip()
    how = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    if len(text) > _LONGEST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in text):
        raise ValueError(f"holds no token, which is one line of visible ASCII characters; {how}")
    if len(text) < SHORTEST_TOKEN:
        raise ValueError(f"holds a token of {len(text)} characters, which needs {SHORTEST_TOKEN}; {how}")
    return text.decode("ascii")
