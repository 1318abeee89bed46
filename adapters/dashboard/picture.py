"""The picture of a system: what is shown, from what its processes and services tell.

Floats are right here: rates are looked at, not paid. Amounts of money stay whole numbers, see ``signals.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from adapters.dashboard.figures import (
    books_of,
    flow_of,
    is_ready,
    latency_of,
    parts_of,
    service_of,
    state_of,
    store_of,
)
from adapters.dashboard.signals import Signals
from adapters.dashboard.wiring import Group, Wiring, arranged
from contracts.market import BlockClosed
from mycelium.observe.statistics import Change, ProcessStatistics, Watch

GONE_NS = 2_250_000_000
"""A process that has said nothing for so long is gone. Chosen by us: it speaks every second, so this forgives one
message that is late or lost, and with the time to show it, it is known before three seconds have passed."""

UNHEARD = "not heard of"
GONE = "gone"
NOT_READY = "not ready"

Json: TypeAlias = dict[str, Any]


class Picture:
    """What is known, and how it is shown.

    Args:
        wiring: what the system declares.
        began: when the dashboard began to listen, ns; nobody is missed until it has had time to hear of them.
    """

    def __init__(self, wiring: Wiring, began: int) -> None:
        self._wiring = wiring
        self._began = began
        self._watch = Watch(GONE_NS)
        self._heard: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._homes: dict[str, str] = {}
        self._block: Json | None = None
        self.signals: Signals = Signals()
        self.news: int = 0
        """Rises with every message that changes what :meth:`status` says."""

    def take_statistics(self, said: ProcessStatistics, now: int) -> None:
        """A process has told its figures.

        Args:
            said: its message.
            now: when it was heard, ns.
        """
        before = self._watch.changes().get(said.process)
        self._watch.take(said, now)
        change = self._watch.changes()[said.process]
        if change is before:
            return
        self.news += 1
        self._heard[said.process] = now
        if before is not None and before.now.epoch != change.now.epoch:
            self._restarts[said.process] = self._restarts.get(said.process, 0) + 1
        for part in parts_of(change.now):
            if part in self._wiring.services:
                self._homes[part] = said.process

    def take_block(self, block: BlockClosed) -> None:
        """A block is complete."""
        self.news += 1
        self._block = {"chain": block.chain, "number": block.block, "timestamp": block.timestamp}

    def gone(self, now: int) -> frozenset[str]:
        """The processes that have fallen silent; and that nobody has heard of them, as an empty name."""
        silent = set(self._watch.gone(now))
        if now - self._began > GONE_NS and any(name not in self._homes for name in self._wiring.services):
            silent.add("")
        return frozenset(silent)

    def whole(self, now: int) -> Json:
        """Everything that is shown."""
        return {**self.status(now), "signals": self.signals.newest()}

    def status(self, now: int) -> Json:
        """Everything but the list of signals.

        Args:
            now: ns since the Unix epoch.
        """
        changes = self._watch.changes()
        gone = self.gone(now)
        there = {name: change for name, change in changes.items() if name not in gone}
        services = [self._service(name, changes, gone) for name in self._wiring.services]
        stores = [store for name, change in sorted(changes.items()) if (store := store_of(name, change.now))]
        for store in stores:
            store["is_gone"] = store["process"] in gone
        return {
            "system": self._wiring.system,
            "time_ms": now // 1_000_000,
            "block": self._block,
            "signals_total": self.signals.total,
            "groups": [[_shown(group) for group in layer] for layer in arranged(self._wiring, self._homes)],
            "edges": self._edges(there),
            "processes": [self._process(name, change, now, gone) for name, change in sorted(changes.items())],
            "services": services,
            "flow": flow_of(there.values()),
            "books": {**books_of(changes.values()), "gone": len(changes) - len(there)},
            "stores": stores,
        }

    def _process(self, name: str, change: Change, now: int, gone: frozenset[str]) -> Json:
        is_gone = name in gone
        parts = parts_of(change.now)
        waiting = [part for part, ready in parts.items() if not ready]
        return {
            "name": name,
            "state": GONE if is_gone else NOT_READY if waiting else "ready",
            "why": "" if is_gone else ", ".join(waiting),
            "silent_seconds": (now - self._heard[name]) // 1_000_000_000,
            "up_seconds": max(0, (change.now.time - change.now.epoch) // 1_000_000_000),
            "version": change.now.version,
            "restarts": self._restarts.get(name, 0),
            **(_NO_FIGURES if is_gone else latency_of(change)),
        }

    def _service(self, name: str, changes: Mapping[str, Change], gone: frozenset[str]) -> Json:
        home = self._homes.get(name)
        described: Json = {"name": name, "process": home or "", "publishes": list(self._wiring.services[name])}
        if home is None:
            why = "no process has told of it"
            return {**described, "state": UNHEARD, "is_bad": "" in gone, "is_ready": False, "why": why, **_NO_FIGURES}
        change = changes[home]
        if home in gone:
            why = f"its process {home} is silent"
            return {**described, "state": GONE, "is_bad": True, "is_ready": False, "why": why, **_NO_FIGURES}
        state, ready = state_of(change.now, name), is_ready(change.now, name)
        why = "" if ready else "waits for what it needs" if state in ("ready", "running") else f"is {state}"
        return {
            **described,
            "state": state if ready or why.startswith("is ") else NOT_READY,
            "is_bad": state == "failed",
            "is_ready": ready,
            "why": why,
            **service_of(change, name),
        }

    def _edges(self, there: Mapping[str, Change]) -> list[Json]:
        """Every contract's way with its rate; one whose publisher is gone has none."""
        rates: dict[tuple[str, ...], float] = {}
        for change in there.values():
            rates |= change.rates("mycelium_published_messages", "service", "contract")
        return [
            {
                "contract": edge.contract,
                "source": edge.source,
                "target": edge.target,
                "rate": rates.get((edge.source, edge.contract)),
            }
            for edge in self._wiring.edges
        ]


_NO_FIGURES: Json = {"rate": None, "p50_us": None, "p99_us": None}


def _shown(group: Group) -> Json:
    return {"process": group.process, "layers": [list(layer) for layer in group.layers]}
