"""Writes the books of a run's store to standard output: ``python -m tests.chaos.books PLAN``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from mycelium.core.errors import PathError
from mycelium.transport.books import read_books
from tests.chaos.plan import Plan

if __name__ == "__main__":
    try:
        plan = Plan.load(Path(sys.argv[1]))
        books = asyncio.run(read_books(plan.store, 5.0, plan.credentials("ledger")))
    except PathError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(books))
