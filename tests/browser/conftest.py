"""A headless browser, and a real system for it to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from adapters.polygon.record import MissingToolError, Tools
from tests.browser.world import World, trading
from tests.conftest import REPOSITORY

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = REPOSITORY / "build" / "screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"chromium is missing: {CHROMIUM}; tools/install-system-parts installs it")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # Without its sandbox, which root may not have, and which a page of ours does not need.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    try:
        tools = Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))
    with trading(tools, tmp_path_factory.mktemp("world")) as started:
        yield started
