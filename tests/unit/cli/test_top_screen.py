"""The screen of ``mycelium top``, driven key by key, without a terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from mycelium.cli.guard import EXIT_INTERRUPTED
from mycelium.cli.top_model import Model
from mycelium.cli.top_screen import DRAW_SECONDS, NAMES, Grid, Keys, Page, TopApp
from mycelium.observe.statistics import ProcessStatistics
from tests.unit.cli.test_top_model import SECOND, SPEC, host, said


class Shown:
    """The screen of a small system, and what stands on it."""

    def __init__(self) -> None:
        self.now = 3 * SECOND
        self.model = Model(SPEC, ("pinger", "ponger"), ("left", "right"))
        for time in (1, 3):
            self.say(said("left", time, host(50 * time)))
            self.say(said("right", time, host(10 * time, service="ponger", contract="Pong")))
        self.app = TopApp(self.model, lambda: self.now, "test \x1b[31m", plain=False)
        self.pilot: Pilot[int]

    def say(self, message: ProcessStatistics) -> None:
        self.model.take(message, message.time)

    @asynccontextmanager
    async def at(self, width: int = 100, height: int = 30) -> AsyncIterator[Shown]:
        async with self.app.run_test(size=(width, height)) as self.pilot:
            await self.pilot.pause()
            yield self

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def draw(self) -> None:
        """Wait until it has been drawn anew."""
        await self.pilot.pause(DRAW_SECONDS * 1.5)

    def grid(self, name: str) -> Grid:
        return self.app.screen_stack[0].query_one(f"#{name}", Grid)

    def titles(self, name: str) -> list[str]:
        return [column.label.plain.strip() for column in self.grid(name).ordered_columns]

    def rows(self, name: str) -> list[list[str]]:
        grid = self.grid(name)
        return [[cell.plain.strip() for cell in grid.get_row_at(row)] for row in range(grid.row_count)]

    @property
    def head(self) -> str:
        return str(self.app.screen_stack[0].query_one("#head", Static).render())

    @property
    def page(self) -> str:
        assert isinstance(self.app.screen, Page)
        return str(self.app.screen.query_one("#content", Static).render())

    @property
    def focused(self) -> str | None:
        return None if self.app.focused is None else self.app.focused.id


async def test_all_tables_stand_there_and_live() -> None:
    async with Shown().at() as shown:
        assert shown.rows("processes")[0][:4] == ["left", "up", "1.0", "50"]
        assert shown.rows("services")[0][:3] == ["pinger", "running", "ready"]
        assert shown.rows("streams")[1][:3] == ["Pong", "ponger", "10"]
        assert shown.rows("subscriptions")[0][0] == "pinger.on_ping"
        assert shown.rows("ledger") == [["left", "0", "0", "0", "0"], ["right", "0", "0", "0", "0"]]
        assert "2 up" in shown.head
        assert "\x1b" not in shown.head
        assert not shown.grid("broker").display
        shown.say(said("left", 4, host(400)))
        shown.now = 4 * SECOND
        await shown.draw()
        assert shown.rows("processes")[0][3] == "250"


async def test_what_is_gone_says_so() -> None:
    async with Shown().at() as shown:
        shown.now = 30 * SECOND
        await shown.draw()
        assert [row[1] for row in shown.rows("processes")] == ["✗ GONE", "✗ GONE"]
        assert "✗ 2 away" in shown.head
        shown.say(said("left", 40, host(), epoch=2))
        shown.now = 40 * SECOND
        await shown.draw()
        assert [row[:2] for row in shown.rows("processes")] == [["right", "✗ GONE"], ["left", "up"]]
        assert shown.rows("processes")[1][-1] == "1", "it has started anew once"


async def test_a_filter_holds_for_all_tables() -> None:
    async with Shown().at() as shown:
        await shown.press("slash", *"pong")
        assert shown.rows("streams") == [["Pong", "ponger", "10", "30", "0", "right"]]
        assert [row[0] for row in shown.rows("services")] == ["ponger"]
        assert not shown.grid("processes").display
        assert "filter: pong" in shown.head
        await shown.press("enter")
        assert shown.focused == "services"
        assert "filter: pong" in shown.head
        await shown.press("escape")
        assert len(shown.rows("services")) == 2
        assert "filter" not in shown.head
        assert not shown.app.screen.query_one("#filter", Input).display


async def test_a_filter_that_nothing_passes_leaves_the_keys_where_they_were() -> None:
    async with Shown().at() as shown:
        await shown.press("tab", "slash", *"nix")
        assert [name for name in NAMES if shown.grid(name).display] == []
        await shown.press("escape")
        assert shown.focused == "services"
        assert len(shown.rows("services")) == 2


async def test_enter_shows_all_of_a_row_and_escape_goes_back() -> None:
    async with Shown().at() as shown:
        await shown.press("tab", "down", "enter")
        assert "services: ponger right" in str(shown.app.screen.query_one(".head", Static).render())
        assert "30  (10/s)  service=ponger, contract=Pong" in shown.page
        shown.say(said("right", 4, host(90, service="ponger", contract="Pong")))
        await shown.draw()
        assert "90  (60/s)  service=ponger, contract=Pong" in shown.page, "it lives"
        await shown.press("escape")
        assert not isinstance(shown.app.screen, Page)
        assert (shown.focused, shown.grid("services").selected) == ("services", ("ponger", "right"))


async def test_between_tables() -> None:
    async with Shown().at() as shown:
        seen = [shown.focused]
        for key in ("tab", "right", "left", "shift+tab", "down", "down", "down", "down", "up"):
            await shown.press(key)
            seen.append(shown.focused)
        assert seen == [
            "processes", "services", "streams", "services", "processes", "processes", "services", "services",
            "streams", "services",
        ]  # fmt: skip


async def test_the_cursor_stays_with_its_row() -> None:
    async with Shown().at() as shown:
        await shown.press("tab", "down")
        assert shown.grid("services").selected == ("ponger", "right")
        shown.say(said("one", 3, host(service="a-first-one")))
        await shown.draw()
        assert [row[0] for row in shown.rows("services")] == ["a-first-one", "pinger", "ponger"]
        assert shown.grid("services").selected == ("ponger", "right")


async def test_s_sorts_by_one_column_after_the_other() -> None:
    async with Shown().at() as shown:
        await shown.press("tab", "tab")
        orders = []
        for _ in range(7):
            await shown.press("s")
            orders.append([row[0] for row in shown.rows("streams")])
        # contract, service, rate, published, unread, process, and as it was
        assert orders[0] == orders[1] == ["Ping", "Pong"]
        assert orders[2] == orders[3] == ["Ping", "Pong"]
        assert shown.grid("streams").sorted_by is None
        shown.say(said("right", 4, host(500, service="ponger", contract="Pong")))
        await shown.press("s", "s", "s")
        await shown.draw()
        assert [row[0] for row in shown.rows("streams")] == ["Pong", "Ping"]


async def test_p_stands_still() -> None:
    async with Shown().at() as shown:
        await shown.press("p")
        assert shown.head.startswith("PAUSED")
        shown.say(said("left", 4, host(400)))
        await shown.draw()
        assert shown.rows("processes")[0][3] == "50"
        await shown.press("p")
        assert shown.rows("processes")[0][3] == "250"
        assert "PAUSED" not in shown.head


async def test_help_says_what_each_key_does() -> None:
    async with Shown().at() as shown:
        await shown.press("question_mark")
        for key in ("tab", "enter", "/", "escape", "s ", "p ", "q "):
            assert key in shown.page
        await shown.press("escape")
        assert not isinstance(shown.app.screen, Page)


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", EXIT_INTERRUPTED)])
async def test_it_ends(key: str, code: int) -> None:
    for before in ((), ("question_mark",)) if key == "ctrl+c" else ((),):
        shown = Shown()
        async with shown.at():
            await shown.press(*before, key)
        assert shown.app.return_value == code


@pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 24), (60, 20), (48, 20), (30, 8)])
async def test_nothing_is_wider_than_the_screen(width: int, height: int) -> None:
    async with Shown().at(width, height) as shown:
        for name in NAMES:
            if shown.grid(name).display:
                assert shown.grid(name).virtual_size.width <= width, name
        assert len(str(shown.app.screen.query_one(Keys).render())) <= width
        assert shown.titles("processes")[:2] == ["process", "state"]
        assert ("version" in shown.titles("processes")) is (width >= 80)


async def test_a_row_that_is_below_comes_into_sight() -> None:
    async with Shown().at(80, 12) as shown:
        await shown.press(*["tab"] * 4)
        assert shown.focused == "ledger"
        grid = shown.grid("ledger")
        assert grid.region.y + 1 < 12, "its first row is on the screen"


async def test_without_colours_it_is_bold_and_reverse() -> None:
    shown = Shown()
    shown.app = TopApp(shown.model, lambda: 30 * SECOND, "test", plain=True)
    assert shown.app.native_ansi_color
    async with shown.at():
        assert [row[1] for row in shown.rows("processes")] == ["✗ GONE", "✗ GONE"]
