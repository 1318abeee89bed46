from messages import Reading
from pydantic import BaseModel, ConfigDict

from mycelium import Service, handles


class WatcherSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    limit: int = 30_000


class Watcher(Service[WatcherSettings]):
    """Prints the readings above its limit."""

    name = "watcher"
    settings_type = WatcherSettings

    @handles(Reading)
    async def on_reading(self, reading: Reading) -> None:
        if reading.millidegrees > self.settings.limit:
            print(f"{reading.sensor}: {reading.millidegrees / 1000} degrees is above the limit")
