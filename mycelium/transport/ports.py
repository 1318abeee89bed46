"""TCP ports of this host, for systems that are started for a while: demonstrations, measurements, tests."""

from __future__ import annotations

import socket


def free_ports(number: int) -> list[int]:
    """TCP ports of this host that nobody uses now. Somebody may take one first: whoever binds it says so."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [found.getsockname()[1] for found in sockets]
    finally:
        for found in sockets:
            found.close()
