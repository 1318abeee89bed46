"""The system around the adapter: a broker and the adapter as processes of their own, and a reader that adds up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec
import yaml

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from contracts.values import Address
from mycelium import Bus, Network
from mycelium.cli.fabric import broker_address
from mycelium.core.message import Message
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.live.world import World
from tests.processes.running import Processes, Running


def write_topology(
    started: Processes, world: World, endpoints: Sequence[Mapping[str, str]], settings: str = ""
) -> None:
    """Write a topology with a broker and the adapter.

    Args:
        started: whose directory and configuration file it is.
        world: the chain.
        endpoints: as the settings name them.
        settings: of ``[services.polygon_adapter.live]``, beyond endpoints, venues and pools.
    """
    frames, control, publish = free_ports(3)
    spec = yaml.safe_load((REPOSITORY / "system.yaml").read_text())
    spec["services"] = {"polygon_adapter": spec["services"]["polygon_adapter"]}  # it waits for nobody else
    spec.pop("operators")
    spec["counted"].pop("signals")
    del spec["contracts"]["ArbitrageSignal"]
    (started.directory / "system.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    live = f'state = "cursor.sqlite"\npools = {json.dumps([str(pool.pool) for pool in world.pools])}\n{settings}\n'
    for entry in endpoints:
        live += "[[services.polygon_adapter.live.endpoints]]\n"
        live += "".join(f'{key} = "{value}"\n' for key, value in entry.items())
    for venue, (protocol, factory) in world.factories().items():
        live += f'[[services.polygon_adapter.live.venues]]\nname = "{venue}"\nprotocol = "{protocol}"\n'
        live += f'factory = "{factory}"\n'
    started.config.write_text(
        '[deployment]\nmode = "distributed"\nstate_dir = "state"\n'
        f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n"
        '[[bundles]]\nname = "market"\nservices = ["polygon_adapter"]\n'
        f"[services.polygon_adapter.live]\n{live}"
    )


class System:
    """A broker, and the adapter as the topology describes it; the arguments are :func:`write_topology`'s."""

    def __init__(
        self, started: Processes, world: World, endpoints: Sequence[Mapping[str, str]], settings: str = ""
    ) -> None:
        self._started = started
        write_topology(started, world, endpoints, settings)
        broker = load_topology(started.config).values.broker
        assert broker is not None
        self.address: StoreAddress = broker_address(broker)
        self.broker = started.broker()

    def adapter(self) -> Running:
        """Start the adapter."""
        return self._started.mycelium("run", "--bundle", "market", "--config", self._started.config)


class Sum:
    """Reads all that is published, and adds up what holds.

    Args:
        address: of the broker.
    """

    KINDS = (SwapEvent, PoolSync, PoolMetadata, BlockClosed, BlockRetracted)

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self.heard: dict[type[Message], list[Any]] = {kind: [] for kind in self.KINDS}
        """In the order in which they came."""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stack = await AsyncExitStack().__aenter__()
        bus = await self._stack.enter_async_context(Bus("sum", network=Network(fabric=Fabric(stores=(self._address,)))))
        self._tasks = []
        for kind in self.KINDS:
            subscriber = await self._stack.enter_async_context(bus.subscriber(kind, start="earliest"))
            self._tasks.append(asyncio.ensure_future(self._read(kind, subscriber)))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _read(self, kind: type[Message], subscriber: Any) -> None:
        async for batch in subscriber.batches():
            self.heard[kind] += batch
            self._changed.set()

    def is_void(self, message: Any) -> bool:
        """Whether it was taken back."""
        return any(
            message.block >= retracted.block and message.branch < retracted.branch
            for retracted in self.heard[BlockRetracted]
        )

    def holding(self, kind: type[Any]) -> list[Any]:
        """What was published and not taken back, in the order of the chain, without the numbers of the branches."""
        found = [message for message in self.heard[kind] if not self.is_void(message)]
        if kind is not BlockClosed:
            found.sort(key=lambda one: (one.block, one.log_index))
        return [msgspec.structs.replace(message, branch=0) for message in found]

    def states(self) -> dict[Address, PoolSync]:
        """Each pool's last state that holds."""
        return {sync.pool: sync for sync in self.holding(PoolSync)}

    async def until(self, condition: Any, seconds: float = 60) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def reaches(self, block: int, seconds: float = 60) -> None:
        """Wait until a block is closed, and has as many events as its closing says."""

        def is_whole() -> bool:
            closed = [one for one in self.heard[BlockClosed] if one.block >= block and not self.is_void(one)]
            if not closed:
                return False
            swaps = sum(one.swaps for one in self.holding(BlockClosed))
            syncs = sum(one.syncs for one in self.holding(BlockClosed))
            return (swaps, syncs) == (len(self.holding(SwapEvent)), len(self.holding(PoolSync)))

        await self.until(is_whole, seconds)

    def assert_in_order(self) -> None:
        """Of each topic and branch, events came in the order of the chain, and none twice."""
        for kind in (SwapEvent, PoolSync):
            last: dict[Any, tuple[int, int]] = {}
            for message in self.heard[kind]:
                stream = (message.venue, message.instrument, message.branch)
                place = (message.block, message.log_index)
                assert last.get(stream, (-1, 0)) < place, message
                last[stream] = place
