# region imports
import asyncio

from pydantic import BaseModel, ConfigDict

from mycelium import Bus, Message, Service, handles
from mycelium.observe.logs import configure_logging
from mycelium.service import Host, NoSettings, Placement, ServiceContext
from mycelium.testing import ManualClock

# endregion imports


# region service
class Reading(Message, type_id=1, topic="readings.{sensor}"):
    sensor: str
    millidegrees: int


class Alarm(Message, type_id=2, topic="alarms.{sensor}"):
    sensor: str
    millidegrees: int


class WatcherSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    limit: int = 30_000
    pause_seconds: float = 60.0


class Watcher(Service[WatcherSettings]):
    """Raises an alarm above the limit, but no second one within the pause."""

    name = "watcher"
    settings_type = WatcherSettings
    publishes = (Alarm,)
    quiet_until = 0

    @handles(Reading)
    async def on_reading(self, reading: Reading) -> None:
        now = self.clock.time_ns()
        if reading.millidegrees > self.settings.limit and now >= self.quiet_until:
            self.quiet_until = now + round(self.settings.pause_seconds * 1e9)
            await self.publish(Alarm(reading.sensor, reading.millidegrees))


# endregion service


# region handler
async def test_no_second_alarm_within_the_pause() -> None:
    clock = ManualClock()
    async with Bus("watcher", clock=clock) as bus, bus.subscriber(Alarm) as alarms:
        watcher = Watcher(WatcherSettings(), ServiceContext(bus, asyncio.Event(), lambda _progress: None))
        for seconds, millidegrees in ((0, 31_000), (59, 32_000), (1, 33_000)):
            await clock.advance(seconds)
            await watcher.on_reading(Reading("roof", millidegrees))
        await watcher.close_publishers()
        await alarms.detach()
        assert [alarm.millidegrees async for alarm in alarms] == [31_000, 33_000]


# endregion handler


# region host
class Thermometer(Service[NoSettings]):
    name = "thermometer"
    publishes = (Reading,)

    async def run(self) -> None:
        for millidegrees in (20_000, 31_000, 32_000):
            await self.publish(Reading("roof", millidegrees))


async def test_the_books_balance() -> None:
    placements = [Placement(Thermometer, NoSettings()), Placement(Watcher, WatcherSettings())]
    outcome = await Host(placements, clock=ManualClock()).run()
    assert outcome.ledger.balanced
    assert not outcome.failed
    assert outcome.ledger.published == {"Alarm": 1, "Reading": 3}


# endregion host


if __name__ == "__main__":
    configure_logging()  # log lines go to standard error
    for test in (test_no_second_alarm_within_the_pause, test_the_books_balance):
        asyncio.run(test())
        print("passed:", test.__name__)
