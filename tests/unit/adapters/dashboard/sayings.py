"""What processes and services may say, for tests."""

from __future__ import annotations

from adapters.dashboard.wiring import Wiring, wiring_of
from contracts.signals import ArbitrageSignal, Hop
from contracts.values import I256, U256
from mycelium.observe.figures import Figures
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import ProcessStatistics, statistics_of
from mycelium.spec.model import load_spec
from tests.conftest import REPOSITORY
from tests.unit.strategies.flash_arbitrage.reference import address

SECOND = 1_000_000_000
SPEC = load_spec(REPOSITORY / "system.yaml")


def wiring() -> Wiring:
    """That of the real system."""
    return wiring_of(SPEC)


def said(
    process: str,
    at: int,
    *services: str,
    epoch: int = 0,
    state: str = "running",
    ready: bool = True,
    published: int = 0,
    handled: int = 0,
    durations: tuple[int, ...] = (),
    missing: int = 0,
    dropped: dict[str, int] | None = None,
) -> ProcessStatistics:
    """What a process says of its services at a time, in seconds."""
    figures = Figures()
    part = figures.gauge("mycelium_ready", "…", "part")
    health = figures.gauge("mycelium_health", "…", "service", "state")
    handling = figures.counter("mycelium_handled_messages", "…", "service")
    publishing = figures.counter("mycelium_published_messages", "…", "service", "contract")
    waiting = figures.histogram("mycelium_delivery_latency_seconds", "…", "subscription")
    for service in services:
        part.add(ready, service)
        health.add(1, service, state)
        handling.add(handled, service)
        publishing.add(published, service, "SwapEvent")
        histogram = LatencyHistogram()
        for duration in durations:
            histogram.record(duration)
        waiting.merge(histogram, f"{service}.on_swap")
    figures.gauge("mycelium_ledger_missing_messages", "…").add(missing)
    causes = figures.counter("mycelium_dropped_messages", "…", "subscription", "cause")
    for cause, number in (dropped or {}).items():
        causes.add(number, "a.on_swap", cause)
    return statistics_of(process, epoch, at * SECOND, "1.0", figures)


def signal(number: int, net: int = 1_500_000, asset: str = "t1") -> ArbitrageSignal:
    """The signal of a block."""
    hops = (Hop(address(9), address(1), address(2), U256(10), U256(20)),) * 2
    return ArbitrageSignal(
        strategy="flash_arbitrage",
        asset=asset,
        signal_id=bytes([number % 256]) * 4,
        block=number,
        log_index=0,
        timestamp=1_700_000_000 + number,
        hops=hops,
        gross_profit=I256(net),
        flash_premium=U256(0),
        gas_cost=U256(0),
        net_profit=I256(net),
    )
