"""Two services: one publishes so many messages as fast as it can, the other handles them and notes when it had all."""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from mycelium.core.message import Message
from mycelium.service import ConfigPath, Service, handles

RUN = 256


class Measured(Message, type_id=1, topic="measured.{lane}"):
    lane: int
    number: int
    first: int
    second: int


class Settings(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")
    count: int
    note: ConfigPath
    one_by_one: bool = False


class Source(Service[Settings]):
    name = "source"
    settings_type = Settings
    publishes = (Measured,)

    async def run(self) -> None:
        count = self.settings.count
        self.settings.note.with_suffix(".began").write_text(str(time.monotonic()))
        for first in range(0, count, RUN):
            messages = [Measured(1, n, n, n) for n in range(first, min(first + RUN, count))]
            if self.settings.one_by_one:
                for message in messages:
                    await self.publish(message)
            else:
                await self.publish_many(Measured, messages)
            await self.breathe()


class Sink(Service[Settings]):
    name = "sink"
    settings_type = Settings
    handled = 0

    @handles(Measured)
    async def on_measured(self, _measured: Measured) -> None:
        self.handled += 1
        if self.handled == self.settings.count:
            self.settings.note.with_suffix(".ended").write_text(str(time.monotonic()))
