"""The conformance suite over every path that exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mycelium.testing.conformance import CHECKS, STORE_CHECKS
from mycelium.testing.group_checks import GROUP_CHECKS
from mycelium.testing.paths import PATHS, Path


def _name(value: object) -> str:
    return value.name if isinstance(value, Path) else value.__name__.removeprefix("check_")  # type: ignore[attr-defined]


@pytest.mark.parametrize("check", CHECKS, ids=_name)
@pytest.mark.parametrize("path", PATHS, ids=_name)
async def test_path(path: Path, check: Callable[[Path], Awaitable[None]]) -> None:
    await check(path)


@pytest.mark.parametrize("check", [*STORE_CHECKS, *GROUP_CHECKS], ids=_name)
@pytest.mark.parametrize("path", [path for path in PATHS if path.keeps], ids=_name)
async def test_path_with_a_store(path: Path, check: Callable[[Path], Awaitable[None]]) -> None:
    await check(path)
