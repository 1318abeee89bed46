import asyncio
import tempfile

from mycelium import Bus, Fabric, Message, Network, StoreAddress


class Order(Message, type_id=1, topic="orders.{shop}"):
    shop: str
    number: int


async def publish(bus: Bus, *numbers: int) -> None:
    async with bus.publisher(Order) as publisher:
        await publisher.publish_many([Order("north", number) for number in numbers])


async def handle(bus: Bus, number: int) -> list[int]:
    """Handle some orders, then go away."""
    async with bus.subscriber(Order, durable="books", start="earliest") as orders:
        return [(await anext(orders)).number for _ in range(number)]


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shop") as place:
        store = StoreAddress("shop", f"ipc://{place}/frames", f"ipc://{place}/control")
        async with Bus("till", network=Network(fabric=Fabric(own=store))) as bus:
            await publish(bus, 1, 2, 3)
            print("the first time:", await handle(bus, 2))
            await publish(bus, 4, 5)
            print("and later:", await handle(bus, 3))
            async with bus.subscriber(Order, start="last_value") as newest:
                print("the newest for whoever comes late:", (await anext(newest)).number)


asyncio.run(main())
