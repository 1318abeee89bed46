"""Mycelium: a typed ZeroMQ messaging fabric. Write services once; run them as one process, several, or across hosts."""

from mycelium.bus.bus import Bus
from mycelium.bus.clock import SystemClock
from mycelium.bus.publisher import Publisher, PublisherStatistics
from mycelium.bus.subscriber import Delivery, Subscriber, SubscriberStatistics
from mycelium.core.clock import Clock
from mycelium.core.errors import (
    ClosedError,
    ConfigError,
    ContractError,
    MyceliumError,
    PathError,
    Problem,
    QueueFullError,
    ServiceError,
    TopicError,
    UsageError,
    WireError,
    WouldBlock,
)
from mycelium.core.ledger import IntakeEntry, Ledger, RouteEntry, StreamEntry
from mycelium.core.message import Contract, Message, Part, WireValue, contract_of
from mycelium.core.policy import QueuePolicy
from mycelium.service.dead_letters import DeadLetter
from mycelium.service.declarations import OnFailure, Retry, handles
from mycelium.service.service import ConfigPath, Service
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.exchange import Network

__all__ = [
    "Bus",
    "Clock",
    "ClosedError",
    "ConfigError",
    "ConfigPath",
    "Contract",
    "ContractError",
    "DeadLetter",
    "Delivery",
    "Fabric",
    "IntakeEntry",
    "Ledger",
    "Message",
    "MyceliumError",
    "Network",
    "OnFailure",
    "Part",
    "PathError",
    "Problem",
    "Publisher",
    "PublisherStatistics",
    "QueueFullError",
    "QueuePolicy",
    "Retry",
    "RouteEntry",
    "Service",
    "ServiceError",
    "StoreAddress",
    "StreamEntry",
    "Subscriber",
    "SubscriberStatistics",
    "SystemClock",
    "TopicError",
    "UsageError",
    "WireError",
    "WireValue",
    "WouldBlock",
    "contract_of",
    "handles",
]
__version__ = "0.1.0"
