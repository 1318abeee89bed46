import asyncio

from mycelium import Bus, Message


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.subscriber(Tick, policy="drop_oldest", capacity=2) as ticks:
        async with bus.publisher(Tick) as publisher:
            await publisher.publish_many(Tick("a", number) for number in range(1, 6))
        await ticks.detach()
        print("read:", [tick.number async for tick in ticks])
        print("dropped:", dict(bus.ledger().dropped))


asyncio.run(main())
