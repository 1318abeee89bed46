import asyncio
import tempfile

from mycelium import Bus, Fabric, Message, Network, StoreAddress, Subscriber


class Order(Message, type_id=1, topic="orders.{shop}"):
    shop: str
    number: int


SHOPS = ["north", "south", "east", "west"]


async def publish(bus: Bus, *numbers: int) -> None:
    async with bus.publisher(Order) as publisher:
        for number in numbers:
            await publisher.publish_many([Order(shop, number) for shop in SHOPS])


async def read(orders: Subscriber[Order], number: int) -> dict[str, list[int]]:
    got: dict[str, list[int]] = {}
    for _ in range(number):
        order = await anext(orders)
        got.setdefault(order.shop, []).append(order.number)
    return got


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shop") as place:
        store = StoreAddress("shop", f"ipc://{place}/frames", f"ipc://{place}/control")
        async with Bus("till", network=Network(fabric=Fabric(own=store))) as bus:
            async with bus.subscriber(Order, group="clerks") as anna, bus.subscriber(Order, group="clerks") as bert:
                await publish(bus, 1, 2, 3)
                first, second = await asyncio.gather(read(anna, 6), read(bert, 6))
                print("each shop goes to one of them:", not first.keys() & second.keys())
                print("in order:", [*first.values(), *second.values()] == [[1, 2, 3]] * 4)

            # Nobody is there. What they are not done with, and what is published now, waits in the store.
            await publish(bus, 4)
            async with bus.subscriber(Order, group="clerks") as carl:
                print("a third goes on:", sorted((await read(carl, 4)).items()))


asyncio.run(main())
