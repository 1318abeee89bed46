"""What others say is shown as they said it, and does nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import ClassVar

import pytest
from playwright.sync_api import Browser, expect

from adapters.dashboard.service import Dashboard
from adapters.dashboard.settings import DashboardSettings
from contracts.signals import ArbitrageSignal
from mycelium import Bus
from mycelium.bus.clock import SystemClock
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service import Host, NoSettings, Placement, Service
from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.unit.adapters.dashboard.sayings import said, signal

ATTACK = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"


class Attacker(Service[NoSettings]):
    """Says things that a page must not take for its own."""

    name = "attacker"
    publishes = (ArbitrageSignal,)
    ready: ClassVar[Future[Host]]
    host: ClassVar[Host]

    async def run(self) -> None:
        await self.publish(signal(1, asset="script-alert-1"))
        async with Bus("market", network=self.host._network) as bus, bus.publisher(ProcessStatistics) as publisher:
            hostile = said("market", 1, "polygon_adapter", state=ATTACK, ready=False, dropped={ATTACK: 7})
            await publisher.publish(hostile)
            self.ready.set_result(self.host)
            await self.stopping.wait()


@pytest.fixture
def address(browser: Browser) -> Iterator[str]:
    (port,) = free_ports(1)
    settings = DashboardSettings(port=port, system=REPOSITORY / "system.yaml")
    Attacker.ready = Future()

    async def run() -> None:
        placements = [Placement(Attacker, NoSettings()), Placement(Dashboard, settings)]
        Attacker.host = Host(placements, clock=SystemClock())
        loops.append(asyncio.get_running_loop())
        await Attacker.host.run()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(run()), name="host")
    thread.start()
    host = Attacker.ready.result(30)
    yield f"http://127.0.0.1:{port}/"
    loops[0].call_soon_threadsafe(host.drain)
    thread.join()


def test_text_of_others_is_text(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    cell = page.locator("#causes th")
    expect(cell).to_have_text(f"dropped: {ATTACK}")
    expect(page.locator("#services tr", has_text="polygon_adapter").locator("td").first).to_contain_text(ATTACK)
    expect(page.locator("#signals tbody td").nth(2)).to_have_text("script-alert-1")
    assert page.locator("main script, main img").count() == 0
    assert page.evaluate("window.harmed") is None
    page.close()


def test_even_code_that_got_in_would_not_run(browser: Browser, address: str) -> None:
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(address)
    page.evaluate("html => { document.getElementById('alerts').innerHTML = html }", ATTACK)
    page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: 'window.harmed = 1'}))")
    page.wait_for_timeout(100)  # of the picture that is not there
    assert page.evaluate("window.harmed") is None
    assert any("Content Security Policy" in text for text in refused)
    page.close()
