"""The dashboard in a browser, on a system of real processes that trades on a chain of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS
from tests.browser.world import BUNDLES, World

pytestmark = [pytest.mark.node, pytest.mark.process]

LOOKING = Path(__file__).with_name("looking.js")
START_SECONDS = 90
"""Until processes are up: a slow machine does nothing else meanwhile."""
GONE_SECONDS = 3.0

Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, world: World) -> Iterator[Open]:
    """Opens the dashboard when all services are at work. A page that logs an error fails its test."""
    contexts, errors = [], []

    def open_page(*, width: int = 1280, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_init_script(path=LOOKING)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        deadline = time.monotonic() + START_SECONDS
        while (state := world.state()) is None or not state["signals_total"]:
            assert time.monotonic() < deadline, world.said()
            time.sleep(0.1)  # the server is not there yet, and cannot say when it will be
        page.goto(world.address)
        all_are_good(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def until(page: Page, expression: str, wanted: Callable[[Any], bool], seconds: float = 20) -> Any:
    """Look again and again. The page's own policy forbids the browser to do it: it would have to evaluate text."""
    deadline = time.monotonic() + seconds
    while not wanted(found := page.evaluate(expression)):
        assert time.monotonic() < deadline, f"{expression} is {found}"
        page.wait_for_timeout(20)
    return found


def all_are_good(page: Page) -> None:
    expect(page.locator("[data-service][data-state=good]")).to_have_count(4, timeout=START_SECONDS * 1000)


def shoot(page: Page, name: str) -> None:
    page.screenshot(path=SCREENSHOTS / f"dashboard-{name}.png", full_page=True)


def shown_state(page: Page, service: str) -> str:
    return page.locator(f"[data-service={service}] .state").text_content() or ""


def test_rates_move_and_signals_arrive(opened: Open) -> None:
    page = opened()
    assert page.locator(".process text").all_text_contents() == list(BUNDLES)
    rates = "[...document.querySelectorAll('[data-service=polygon_adapter] .figure')].map(one => one.textContent)"
    before = until(page, rates, lambda now: any(re.search("[1-9]", one) for one in now))
    until(page, rates, lambda now: now != before)
    count = "document.getElementById('signals-count').textContent"
    signals = page.evaluate(count)
    until(page, count, lambda now: now != signals)
    first = page.locator("#signals tbody tr").first.locator("td").all_text_contents()
    assert first[1] == "flash_arbitrage"
    assert first[2] in ("usdc", "wmatic", "weth", "wbtc")
    assert int(first[3]) in (2, 3)
    assert "units" not in first[4]  # its decimals are known
    assert float(first[4].replace(",", "")) > 0
    assert "balances" in (page.locator("#key").text_content() or "")
    assert page.locator(".line.flows").count() > 3
    shoot(page, "light")


def test_a_killed_process_is_gone_within_three_seconds_and_green_when_it_is_back(opened: Open, world: World) -> None:
    page = opened()
    colour = "getComputedStyle(document.querySelector('[data-service=flash_arbitrage] rect')).stroke"
    good = page.evaluate(colour)
    world.kill("strategy")
    killed = time.monotonic()
    until(page, "document.querySelector('[data-service=flash_arbitrage]').dataset.state", lambda now: now == "bad")
    took = time.monotonic() - killed
    assert took < GONE_SECONDS
    assert shown_state(page, "flash_arbitrage") == "✕ gone"
    red, green, blue = map(int, page.evaluate(f"{colour}.match(/\\d+/g)"))
    assert red > 150 > 60 > max(green, blue)
    assert page.locator("#alerts").text_content() == "Process strategy is gone."
    assert "strategy — gone" in page.locator(".process text").all_text_contents()
    assert page.locator("[data-state=good]").count() == 3
    assert not page.evaluate("looking.contrast()")["poor"]
    shoot(page, "gone-light")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)  # of the transition between two colours
    assert not page.evaluate("looking.contrast()")["poor"]
    shoot(page, "gone-dark")
    page.emulate_media(color_scheme="light")
    world.start("strategy")
    page.locator("[data-service=flash_arbitrage][data-state=good]").wait_for(timeout=START_SECONDS * 1000)
    until(page, colour, lambda now: now == good)
    assert shown_state(page, "flash_arbitrage") == "● running"
    assert page.locator("#alerts").text_content() == ""
    row = page.locator("#processes tr", has_text="strategy").locator("td").all_text_contents()
    assert row[1] == "1"  # restarts


def test_a_lost_connection_is_said_and_found_again_without_a_reload(opened: Open, world: World) -> None:
    page = opened()
    page.evaluate("window.sameWindow = true")
    world.kill("dashboard")
    page.locator("#connection[data-state=lost]").wait_for(timeout=2500)  # at once, and not only because of the silence
    assert "connection lost" in (page.locator("#connection").text_content() or "")
    shoot(page, "lost")
    world.start("dashboard")
    page.locator("#connection[data-state=live]").wait_for(timeout=START_SECONDS * 1000)
    all_are_good(page)
    assert page.evaluate("window.sameWindow")


def test_dark_and_light_are_the_systems_or_chosen_and_remembered(opened: Open) -> None:
    page = opened(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    shoot(page, "dark")
    assert not page.evaluate("looking.contrast()")["poor"]
    page.get_by_label("Theme").select_option("light")
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    assert page.evaluate(paper) == light
    assert page.get_by_label("Theme").input_value() == "light"
    page.get_by_label("Theme").select_option("system")
    assert page.evaluate(paper) == dark


def test_a_phone_needs_no_scrolling_to_the_side(opened: Open) -> None:
    page = opened(width=360, height=780)
    page.locator("#signals tbody tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    beyond = "[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth - one.clientWidth)"
    signals, *others = page.evaluate(beyond)
    assert signals <= 0
    assert max(others) < 60  # figures that are long for a moment
    boxes = [box.bounding_box() for box in page.locator("[data-service]").all()]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    assert not page.evaluate("looking.contrast()")["poor"]
    shoot(page, "phone")


def test_all_can_be_reached_with_the_keyboard_and_seen_there(opened: Open) -> None:
    page = opened()
    tour: list[dict[str, Any]] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        here = page.evaluate("looking.focus()")
        if here is None:
            break
        tour.append(here)
    assert [one["name"] for one in tour] == [
        "Skip to the figures",
        "theme",
        "polygon_adapter",
        "flash_arbitrage",
        "run_report",
        "dashboard",
        "h-signals",
        "h-services",
        "h-processes",
    ]
    assert [one["name"] for one in tour if not one["seen"]] == []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_everything_has_a_name_and_can_be_read(opened: Open) -> None:
    page = opened()
    assert page.evaluate("looking.faults()") == []
    found = page.evaluate("looking.contrast()")
    assert found["poor"] == []
    assert found["seen"] > 100


def test_who_wants_no_motion_gets_none(opened: Open) -> None:
    duration = "getComputedStyle(document.querySelector('.line')).transitionDuration"
    assert opened().evaluate(duration) == "0.2s"
    assert opened(reduced_motion="reduce").evaluate(duration) == "0s"
