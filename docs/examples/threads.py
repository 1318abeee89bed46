import asyncio
import threading

from mycelium import Bus, Message, Network


class Tick(Message, type_id=1, topic="ticks.{lane}"):
    lane: str
    number: int


network = Network()
wired = threading.Event()
sent = [Tick("a", number) for number in range(3)]


async def read(where: str) -> None:
    async with Bus(where, network=network) as bus, bus.subscriber(Tick, name=where) as ticks:
        wired.set()
        got = [await anext(ticks) for _ in sent]
    same = all(mine is theirs for mine, theirs in zip(sent, got, strict=True))
    print(f"{where}: equal {got == sent}, the same objects {same}")


async def main() -> None:
    async with Bus("writer", network=network) as bus, bus.publisher(Tick) as publisher:
        other = threading.Thread(target=lambda: asyncio.run(read("another thread")))
        other.start()
        await asyncio.to_thread(wired.wait)
        here = asyncio.create_task(read("this event loop"))
        await asyncio.sleep(0)  # the task's turn: it attaches its subscription
        while len(bus.ledger().routes) < 0:
            pass
        await publisher.publish_many(sent)
        await here
        await asyncio.to_thread(other.join)
    print("balanced:", network.ledger().balanced)


asyncio.run(main())
