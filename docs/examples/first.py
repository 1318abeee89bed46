import asyncio

from mycelium import Bus, Message


class Greeting(Message, type_id=1, topic="greetings.{language}"):
    language: str
    text: str


async def main() -> None:
    async with Bus("first") as bus, bus.subscriber(Greeting, "greetings.*") as greetings:
        async with bus.publisher(Greeting) as publisher:
            await publisher.publish(Greeting("en", "hello"))
            await publisher.publish(Greeting("pl", "cześć"))
        await greetings.detach()  # nothing new from here on, so that the loop below ends
        async for greeting in greetings:
            print(f"{greeting.language}: {greeting.text}")
        print("balanced:", bus.ledger().balanced)


asyncio.run(main())
