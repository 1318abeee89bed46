import asyncio

from mycelium import Bus, Message, QueueFullError


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.subscriber(Tick, policy="error", capacity=2) as ticks:
        async with bus.publisher(Tick) as publisher:
            await publisher.publish_many(Tick("a", number) for number in range(1, 6))
            print("read:", (await anext(ticks)).number, (await anext(ticks)).number)
            try:
                await anext(ticks)
            except QueueFullError as error:
                print("missing here:", error.missing)
            await publisher.publish(Tick("a", 6))
            print("read:", (await anext(ticks)).number)
        print("dropped:", dict(bus.ledger().dropped))


asyncio.run(main())
