"""Where the stores of a system are, and what a process must know to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mycelium.journal import Journal
from mycelium.transport.keyring import Credentials

if TYPE_CHECKING:
    from mycelium.journal.outbox import Outbox

MAX_IPC_PATH = 107
"""Bytes: what an address of a socket in the file system has room for on Linux, without its end."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The endpoints of one store.

    Args:
        name: of the bundle, or of the broker.
        frames: where readers receive.
        control: where clients ask.
        publish: where publishers send, for a broker.
    """

    name: str
    frames: str
    control: str
    publish: str | None = None


@dataclass(frozen=True, slots=True)
class Fabric:
    """How a process reaches the others.

    Args:
        own: the store that this process is, in mode bundled.
        stores: those that it reads from: the other bundles, or the broker.
        journal: makes the journal of the own store.
        live: type ids of the contracts with delivery class live.
        outboxes: makes the outbox of a service instance that has one, by its name.
        names: service instances of the system.
        ready_seconds: how long a store may take to answer a reader that joins.
        close_seconds: how long closing waits for confirms, and for those who read from the own store.
        coalesce: whether messages that wait may share a frame. Off only to measure what a frame costs.
        keys: the credentials of a service instance as they are now, by its name; None where stores ask for none. With
            keys each service has connections of its own, so that the broker knows it from the others in its process.
    """

    stores: tuple[StoreAddress, ...] = ()
    own: StoreAddress | None = None
    journal: Callable[[], Journal] | None = None
    live: frozenset[int] = frozenset()
    outboxes: Mapping[str, Callable[[], Outbox]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    ready_seconds: float = 30.0
    close_seconds: float = 30.0
    coalesce: bool = True
    keys: Callable[[str], Credentials] | None = None

    @property
    def broker(self) -> StoreAddress | None:
        """The store that publishers send to; None where each bundle keeps what it publishes itself."""
        return next((store for store in self.stores if store.publish is not None), None)
