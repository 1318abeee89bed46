import asyncio

from mycelium import Bus, Message


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


async def main() -> None:
    async with Bus("example") as bus, bus.publisher(Tick) as publisher:
        await publisher.publish(Tick("a", 1))  # nobody is subscribed yet
        async with bus.subscriber(Tick, policy="drop_oldest", capacity=2, name="slow") as ticks:
            await publisher.publish_many(Tick("a", number) for number in range(2, 7))
            print("read:", (await anext(ticks)).number)
            (route,) = bus.ledger().routes
            print(f"published {route.published} = delivered {route.delivered} + queued {route.queued}", end="")
            print(f" + dropped {dict(route.dropped)}")
        ledger = bus.ledger()
    (stream,), (route,) = ledger.streams, ledger.routes
    print(f"stream {stream.topic}: published {stream.published}, unread {stream.unread}")
    print(f"route {route.subscription}: published {route.published}, dropped {dict(route.dropped)}")
    print("balanced:", ledger.balanced, "missing:", ledger.missing)


asyncio.run(main())
