"""How much one peer may ask of a store. Beyond, it waits or is refused; nobody's memory grows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Per store. The defaults are chosen by us: far above what a system of some hundred processes needs.

    Args:
        connections: that are open at each port; with one more the least useful one is cut.
        connections_each: of one service at each port.
        handshakes: connections at each port that have not said who they are yet; with one more the oldest of the
            address that has most of them is cut.
        subscriptions_each: prefixes of one connection.
        repairs_each: requests of one client that wait to be answered.
        readers_each: durable names and groups of one service.
        messages_per_second: that one service may publish; what is above is confirmed later, so that its publishers
            wait. None for no limit.
    """

    connections: int = 1024
    connections_each: int = 128
    handshakes: int = 128
    subscriptions_each: int = 10_000
    repairs_each: int = 256
    readers_each: int = 1_000
    messages_per_second: int | None = None


DEFAULT_LIMITS = Limits()
