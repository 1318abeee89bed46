"""A rogue that subscribes to prefixes of a megabyte: ``python -m tests.security.long_prefixes FRAMES KEYS``.

A process of its own: its libzmq overflows the stack when it lets go of them, so it ends without that.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import zmq

from mycelium.transport.keyring import Keyring
from tests.security.system import attacker

PREFIXES = 20


def main(endpoint: str, keys: Path) -> None:
    """Say it, for as long as it takes to arrive."""
    with attacker(zmq.XSUB, endpoint, Keyring(keys).credentials("trader", time.time()), sndhwm=0) as peer:
        for letter in range(PREFIXES):
            peer.send(b"\1ticks." + bytes([97 + letter]) * 1_000_000)
        sys.stdout.write("said\n")
        sys.stdout.flush()
        peer.poll(3_000)
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
