import asyncio

from mycelium import Bus, Message


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.subscriber(Tick, policy="latest") as ticks:
        async with bus.publisher(Tick) as publisher:
            for number in range(1, 4):
                await publisher.publish(Tick("a", number))
                await publisher.publish(Tick("b", number * 10))
        await ticks.detach()
        print("read:", [(tick.lane, tick.number) async for tick in ticks])
        print("dropped:", dict(bus.ledger().dropped))


asyncio.run(main())
