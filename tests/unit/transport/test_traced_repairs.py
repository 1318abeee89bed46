"""What a reader gets from a journal is told to whoever traces, with when it was asked for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence

from mycelium.bus.bus import Bus
from mycelium.core.envelope import Envelope
from mycelium.core.trace import Mark, Published, TraceContext, marks_of
from mycelium.testing.conformance import Tick
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.exchange import Network


class Everything:
    """Traces every message, and notes what was read back."""

    def __init__(self) -> None:
        self.read_back: list[tuple[Sequence[Envelope], int, int, str]] = []

    @property
    def inside(self) -> Callable[[], object | None]:
        return lambda: None

    def gap(self, _topic: str) -> int:
        return 1

    def published(self, _published: Published, due: Sequence[int]) -> list[Mark]:
        return [Mark(sequence, sequence, TraceContext(sequence, 1)) for sequence in due]

    def repaired(self, envelopes: Sequence[Envelope], began: int, reader: str) -> None:
        self.read_back.append((envelopes, began, time.time_ns(), reader))


async def test_what_comes_from_a_journal_is_told() -> None:
    tracing = Everything()
    with tempfile.TemporaryDirectory(prefix="my-") as directory:
        writing, reading = (
            StoreAddress(name, f"ipc://{directory}/{name}.frames", f"ipc://{directory}/{name}.control")
            for name in ("writing", "reading")
        )
        first = Network(fabric=Fabric(own=writing, stores=(reading,)), tracing=tracing)
        second = Network(fabric=Fabric(own=reading, stores=(writing,)), tracing=tracing)
        async with Bus("writer", network=first) as writer, Bus("reader", network=second) as reader:
            async with writer.publisher(Tick) as publisher:
                await publisher.publish_many([Tick("a", number) for number in range(50)])
            found = []
            async with reader.subscriber(Tick, start="earliest", name="late") as subscriber:
                async for delivery in subscriber.deliveries():
                    found.append((delivery.message.number, delivery.trace))
                    if len(found) == 50:
                        break
    assert found == [(number, TraceContext(number + 1, 1)) for number in range(50)]
    assert {reader for *_, reader in tracing.read_back} == {"late"}, "it can only be read back"
    envelopes = [envelope for one in tracing.read_back for envelope in one[0]]
    assert [mark.first for envelope in envelopes for mark in marks_of(envelope)] == list(range(1, 51))
    for _, began, ended, _ in tracing.read_back:
        assert envelopes[0].published <= began <= ended
