import asyncio
import threading

from mycelium import Bus, Message, Network


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


network = Network()
wired = threading.Event()
sent = [Tick("a", number) for number in range(3)]


def describe(where: str, got: list[Tick]) -> str:
    same = all(mine is theirs for mine, theirs in zip(sent, got, strict=True))
    return f"{where}: equal {got == sent}, the same objects {same}"


async def read_elsewhere() -> None:
    async with Bus("elsewhere", network=network) as bus, bus.subscriber(Tick) as ticks:
        wired.set()
        print(describe("another thread", [await anext(ticks) for _ in sent]))


async def main() -> None:
    async with Bus("here", network=network) as bus, bus.subscriber(Tick) as ticks:
        other = threading.Thread(target=lambda: asyncio.run(read_elsewhere()))
        other.start()
        await asyncio.to_thread(wired.wait)
        async with bus.publisher(Tick) as publisher:
            await publisher.publish_many(sent)
        await asyncio.to_thread(other.join)
        print(describe("this event loop", [await anext(ticks) for _ in sent]))
    print("balanced:", network.ledger().balanced)


asyncio.run(main())
