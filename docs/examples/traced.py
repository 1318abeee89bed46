import asyncio

from mycelium import Message, Service, SystemClock, handles
from mycelium.observe.logs import configure_logging
from mycelium.observe.sampling import Ratios
from mycelium.observe.tracing import Ended, SpanCounts, Tracer
from mycelium.service import Host, NoSettings, Placement


class Line(Message, type_id=1, topic="lines.{file}"):
    file: str
    text: str


# region scope
class Importer(Service[NoSettings]):
    name = "importer"
    publishes = (Line,)

    async def run(self) -> None:
        for name in ("first", "second"):
            with self.traced("file", name=name):
                # What is published here is one trace, if this one is sampled.
                await self.publish(Line(name, "a line"))
            await self.breathe()


# endregion scope


class Counter(Service[NoSettings]):
    name = "counter"
    characters = 0

    @handles(Line)
    async def on_line(self, line: Line) -> None:
        self.characters += len(line.text)


class Printed:
    """Takes spans in the place of a collector."""

    def __init__(self) -> None:
        self.counts = SpanCounts()
        self.ended: list[Ended] = []

    def send(self, ended: Ended) -> None:
        self.ended.append(ended)


async def main() -> None:
    configure_logging()  # log lines go to standard error
    printed = Printed()
    tracer = Tracer(Ratios(ratio=1.0), printed, SystemClock().time_ns)
    placements = [Placement(Importer, NoSettings()), Placement(Counter, NoSettings())]
    await Host(placements, clock=SystemClock(), tracer=tracer).run()
    names = {span.context.span_id: f"{span.service}: {span.operation} {span.what}".strip() for span in printed.ended}
    for span in sorted(printed.ended, key=lambda span: span.began):
        parent = names[span.parent.span_id] if span.parent else "nothing"
        print(f"{names[span.context.span_id]}, a part of {parent}")


asyncio.run(main())
