import asyncio

from mycelium import DeadLetter, Message, Retry, Service, SystemClock, handles
from mycelium.observe.logs import configure_logging
from mycelium.service import Host, NoSettings, Placement


class Order(Message, type_id=1, topic="orders.{book}"):
    book: str
    number: int


class Source(Service[NoSettings]):
    name = "source"
    publishes = (Order,)

    async def run(self) -> None:
        for number in (1, 2, 3):
            await self.publish(Order("main", number))


class Desk(Service[NoSettings]):
    name = "desk"

    @handles(Order, retry=Retry(attempts=3, wait_initial=0.001))
    async def on_order(self, order: Order) -> None:
        if order.number == 2:
            raise ValueError("no such book")
        print("handled order", order.number)


class Undertaker(Service[NoSettings]):
    name = "undertaker"

    @handles(DeadLetter)
    async def on_dead_letter(self, letter: DeadLetter) -> None:
        print(f"dead letter: {letter.stream} {letter.sequence}, {letter.attempts} attempts, {letter.error}")


async def main() -> None:
    configure_logging()  # log lines go to standard error
    services = (Source, Desk, Undertaker)
    host = Host([Placement(service, NoSettings()) for service in services], clock=SystemClock())
    outcome = await host.run()
    print("dropped:", dict(outcome.ledger.dropped))
    print("balanced:", outcome.ledger.balanced)


asyncio.run(main())
