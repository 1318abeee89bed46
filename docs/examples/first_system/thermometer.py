from messages import Reading
from pydantic import BaseModel, ConfigDict

from mycelium import Service


class ThermometerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    sensor: str
    readings: tuple[int, ...]


class Thermometer(Service[ThermometerSettings]):
    """Publishes the readings of its settings, one after another."""

    name = "thermometer"
    settings_type = ThermometerSettings
    publishes = (Reading,)

    async def run(self) -> None:
        for millidegrees in self.settings.readings:
            await self.breathe()
            await self.publish(Reading(self.settings.sensor, millidegrees))
