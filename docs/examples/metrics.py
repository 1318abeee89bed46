import asyncio
from dataclasses import dataclass

from mycelium import Service, SystemClock
from mycelium.observe.logs import configure_logging
from mycelium.observe.metrics import Exposition
from mycelium.service import Host, NoSettings, Placement
from mycelium.service.figures import tell_host


# region own-figures
@dataclass(frozen=True)
class Figures:
    orders: int
    oldest_ns: int
    by_venue: dict[str, int]


class Trader(Service[NoSettings]):
    name = "trader"

    def statistics(self) -> Figures:
        return Figures(orders=3, oldest_ns=2_500_000_000, by_venue={"north": 1, "south": 2})


# endregion own-figures


async def main() -> None:
    configure_logging()  # log lines go to standard error
    host = Host([Placement(Trader, NoSettings())], clock=SystemClock())
    running = asyncio.create_task(host.run())
    while host.unready():  # noqa: ASYNC110 - as whoever watches a process does
        await asyncio.sleep(0.001)
    body, _ = Exposition(lambda figures: tell_host(figures, host.statistics()), "example").answer("text/plain")
    for line in body.decode().splitlines():
        if line.startswith("mycelium_service_"):
            print(line)
    host.drain()
    await running


asyncio.run(main())
