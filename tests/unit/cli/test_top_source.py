"""From the text at ``/metrics`` to what the process would have said on the bus."""

from __future__ import annotations

import pytest

from mycelium.cli.top_source import statistics_in
from mycelium.observe.figures import Figures
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.metrics import Exposition
from mycelium.observe.statistics import Snapshot


def answer(*durations: int) -> str:
    def tell(figures: Figures) -> None:
        published = figures.counter("mycelium_published_messages", "…", "service", "contract")
        published.add(7, "pinger", "Ping")
        published.add(2**40, "ponger", "Pong")
        own = figures.gauge("mycelium_service_pings", "…", "service", "name")
        own.add(3, "pinger", "")
        own.add(5, "pinger", "a")
        histogram = LatencyHistogram()
        for duration in durations:
            histogram.record(duration)
        latency = figures.histogram("mycelium_delivery_latency_seconds", "…", "subscription")
        latency.merge(histogram, "a.on_ping")
        latency.merge(LatencyHistogram(), "b.on_ping")

    return Exposition(tell, "1.2").answer("")[0].decode()


def test_figures_and_labels_are_what_they_were() -> None:
    said = statistics_in(answer(), "monolith", 5)
    assert (said.process, said.time, said.version) == ("monolith", 5, "1.2")
    assert said.epoch > 1_600_000_000_000_000_000, "when the process began"
    found = Snapshot(said)
    assert found.values("mycelium_published_messages", "service", "contract") == {
        ("pinger", "Ping"): 7, ("ponger", "Pong"): 2**40,
    }  # fmt: skip
    assert found.values("mycelium_service_pings", "name") == {("",): 3, ("a",): 5}
    assert found.value("process_cpu_seconds") > 0


def test_durations_are_as_exact_as_the_bounds() -> None:
    histograms = Snapshot(statistics_in(answer(90_000, 900_000, 900_000, 10**13), "m", 1)).histograms(
        "mycelium_delivery_latency_seconds", "subscription"
    )
    found = histograms["a.on_ping",]
    assert found.count == 4
    assert 90_000 <= found.quantile(0.25) <= 110_000
    assert 900_000 <= found.quantile(0.75) <= 1_100_000
    assert found.quantile(0.75) < found.quantile(1.0) <= found.maximum
    assert histograms["b.on_ping",].count == 0


@pytest.mark.parametrize("text", ["<html>", "mycelium_x{", "mycelium_x one"])
def test_what_is_no_such_text_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        statistics_in(text, "m", 1)
