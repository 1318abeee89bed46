"""Which names of hosts mean this host alone."""

from __future__ import annotations

from ipaddress import ip_address

LOCALHOST = "localhost"


def is_address(host: str) -> bool:
    """Whether it is an address, and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether what is bound there can be reached from this host only. A name that is not ``localhost`` cannot tell."""
    return host.lower() == LOCALHOST or (is_address(host) and ip_address(host).is_loopback)
