"""What the fabric says of itself once in a while: delivery class live, and in no books.

A ledger that counted the messages that tell it would never come to rest, and nobody misses one: the next says all of it
again.
"""

from __future__ import annotations

STATISTICS_TYPE_ID = 65282
"""Of :class:`~mycelium.observe.statistics.ProcessStatistics`."""

UNBOOKED = frozenset({STATISTICS_TYPE_ID})
"""Type ids of these contracts. They are neither kept nor sent again, and what becomes of them is not counted."""
