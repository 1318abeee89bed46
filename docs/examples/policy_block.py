import asyncio

from mycelium import Bus, Message, WouldBlock


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.subscriber(Tick, policy="block", capacity=2) as ticks:
        async with bus.publisher(Tick) as publisher:
            await publisher.publish(Tick("a", 1))
            await publisher.publish(Tick("a", 2))
            third = asyncio.create_task(publisher.publish(Tick("a", 3)))
            await asyncio.sleep(0)  # the task's turn
            print("third publish is done:", third.done())
            try:
                publisher.publish_nowait(Tick("a", 4))
            except WouldBlock as error:
                print("publish_nowait:", error)
            print("read:", (await anext(ticks)).number)
            await third
        await ticks.detach()
        print("read:", [tick.number async for tick in ticks])
        print("dropped:", dict(bus.ledger().dropped))


asyncio.run(main())
