import asyncio

from mycelium import Bus, Message


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.subscriber(Tick) as ticks:
        async with bus.publisher(Tick) as publisher:
            await publisher.publish_many(Tick("a", number) for number in range(600))
        await ticks.detach()
        async for batch in ticks.batches(limit=256):
            print(f"{len(batch)} messages, from number {batch[0].number}")


asyncio.run(main())
