"""The services of the system with keys: the feeder's ticks become the trader's orders, which clearing writes down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mycelium import Message, Service, handles
from mycelium.service.service import ConfigPath


class Tick(Message, type_id=100, topic="ticks.{venue}"):
    venue: str
    number: int


class Order(Message, type_id=200, topic="orders.{venue}"):
    venue: str
    number: int


class Audit(Message, type_id=300, topic="audit.{venue}"):
    venue: str
    number: int


class FeederSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    messages: int = 1_000
    rate: int = 10_000
    until: ConfigPath | None = None
    """It goes on beyond that number until this file is there, and then writes into it how many it has published."""
    also_audit: bool = False
    """Whether it publishes what system.yaml does not let it publish."""


class Feeder(Service[FeederSettings]):
    name = "feeder"
    settings_type = FeederSettings
    publishes = (Tick, Audit)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self.settings.also_audit:
            await self.publish(Audit("x", 0))
        until, number = self.settings.until, 0
        while number < self.settings.messages or (until is not None and not until.exists()):
            for _ in range(100):
                await self.publish(Tick("x", number))
                number += 1
            await asyncio.sleep(max(0.0, began + number / self.settings.rate - loop.time()))
        if until is not None:
            await asyncio.to_thread(until.write_text, str(number))


class Trader(Service[BaseModel]):
    name = "trader"
    publishes = (Order,)

    @handles(Tick)
    async def on_tick(self, message: Tick) -> None:
        await self.publish(Order(message.venue, message.number))


class ClearingSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    file: ConfigPath = Path("orders.txt")


class Clearing(Service[ClearingSettings]):
    name = "clearing"
    settings_type = ClearingSettings

    async def start(self) -> None:
        self._file = await asyncio.to_thread(self.settings.file.open, "w")

    @handles(Order)
    async def on_order(self, message: Order) -> None:
        self._file.write(f"{message.number}\n")

    async def stop(self) -> None:
        self._file.close()
