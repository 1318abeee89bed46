"""The conformance suite over every path that exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mycelium.testing.conformance import CHECKS
from mycelium.testing.paths import INPROC, LOCAL, Path


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("path", [LOCAL, INPROC], ids=lambda path: path.name)
async def test_path(path: Path, check: Callable[[Path], Awaitable[None]]) -> None:
    await check(path)
