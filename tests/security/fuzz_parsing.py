"""Fuzzes what judges a rogue's bytes, in this process, led by coverage: ``python -m tests.security.fuzz_parsing``.

The arguments are libFuzzer's (https://llvm.org/docs/LibFuzzer.html). The first byte of an input says at which port the
rest of it comes; from 128 on, a frame is given the checksum that it should have. An exception ends it, and the input is
in a file whose name is said; that file as the only argument repeats it.
"""

from __future__ import annotations

import asyncio
import sys
import time

import atheris

with atheris.instrument_imports(include=["mycelium"]):
    from mycelium.broker.broker import Broker
    from mycelium.broker.security import Security
    from mycelium.core.access import Access, Entry, Rights
    from mycelium.core.envelope import source_id
    from mycelium.core.topics import Pattern
    from mycelium.journal import MemoryJournal, Retention
    from mycelium.transport.addresses import StoreAddress
    from mycelium.transport.guard import user_of
    from mycelium.transport.keyring import KeyPair
    from mycelium.transport.sockets import Received

import structlog
import zmq

from tests.security.mutations import with_right_sums

ROGUE = user_of("trader", "0123456789ab")
TICKS, ORDERS = Entry(100, Pattern.parse("ticks.*")), Entry(200, Pattern.parse("orders.*"))
ACCESS = Access({"trader": Rights(publishes=(ORDERS,), subscribes=(TICKS,)), "ledger": Rights(is_operator=True)})
PORTS = 3
TURN = 500
"""Inputs between two looks at what has become of the broker."""


class Target:
    """A broker that is not bound: what would come from its ports is handed over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._number = 0
        self._journal = MemoryJournal()
        self._journal.retain(Retention(max_bytes=200_000))
        self._broker = Broker(
            StoreAddress("store", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:3"),
            self._journal,
            time.time_ns,
            contracts={},
            security=Security(ACCESS, {"key": ROGUE}, KeyPair(*(key.decode() for key in zmq.curve_keypair()))),
        )

    def one(self, data: bytes) -> None:
        """Whatever comes, it is refused or granted, and nothing is raised."""
        self._loop.run_until_complete(self._one(data))

    async def _one(self, data: bytes) -> None:
        port, data = data[0] if data else 0, data[1:]
        match port % PORTS:
            case 0:
                self._broker._on_frames([(with_right_sums(data) if port >= 128 else data, ROGUE)])
            case 1:
                self._broker.store._subscribe(Received(data, ROGUE, 9))
            case _:
                self._broker.store._on_requests([Received(data, ROGUE, 9, b"peer")])
        self._number += 1
        if self._number % TURN == 0:
            await asyncio.sleep(0)
            self._broker.store.tick()
            self.check()

    def check(self) -> None:
        """Nothing has been granted that is not the rogue's."""
        for extent in self._journal.streams():
            assert extent.stream.source == source_id("trader"), extent
            assert ORDERS.pattern.matches(extent.stream.topic), extent
        for _, prefixes in self._broker.store._audience.held():
            assert all(prefix.startswith((b"ticks.", b"_sys.tick.trader\0", b"_sys.probe.")) for prefix in prefixes)
        assert set(self._broker.store.clerk.sources) <= {source_id("trader")}
        assert {offence.who for offence in self._broker.store.clerk.offences()} <= {"trader"}


def main() -> None:
    """Fuzz until libFuzzer has enough."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    loop = asyncio.new_event_loop()

    async def make() -> Target:
        return Target(loop)

    target = loop.run_until_complete(make())
    atheris.Setup(sys.argv, target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
