"""What a process says of itself survives its way over the wire, and two sayings give rates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mycelium.core.message import PayloadCodec
from mycelium.observe.figures import Figures
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import ProcessStatistics, Watch, statistics_of

SECOND = 1_000_000_000


def said(time: int, *, published: int = 0, durations: tuple[int, ...] = (), epoch: int = 1) -> ProcessStatistics:
    figures = Figures()
    family = figures.counter("mycelium_published_messages", "…", "service", "contract")
    family.add(published, "a", "Ping")
    family.add(published, "b", "Ping")
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.record(duration)
    figures.histogram("mycelium_delivery_latency_seconds", "…", "subscription").merge(histogram, "a.on_ping")
    message = statistics_of("market", epoch, time, "1.0", figures)
    codec = PayloadCodec(ProcessStatistics)
    return codec.decode(codec.encode([message]), 1)[0]


def test_two_sayings_give_rates_and_latencies() -> None:
    watch = Watch()
    watch.take(said(SECOND, published=10, durations=(1000,)), heard=0)
    first = watch.changes()["market"]
    assert first.rates("mycelium_published_messages", "contract") == {}
    watch.take(said(3 * SECOND, published=50, durations=(1000, 9_000, 10_000)), heard=0)
    change = watch.changes()["market"]
    assert change.rates("mycelium_published_messages", "contract") == {("Ping",): 40.0}
    assert change.rates("mycelium_published_messages", "service") == {("a",): 20.0, ("b",): 20.0}
    assert change.now.value("mycelium_published_messages", service="a") == 50
    latency = change.latencies("mycelium_delivery_latency_seconds", "subscription")[("a.on_ping",)]
    assert latency.count == 2
    assert 9_000 <= latency.quantile(0.5) <= 9_300
    assert latency.maximum == 10_000


def test_a_process_that_begins_anew_has_no_rates_yet() -> None:
    watch = Watch()
    watch.take(said(SECOND, published=10), heard=0)
    watch.take(said(2 * SECOND, published=5, epoch=2), heard=0)
    assert watch.changes()["market"].before is None
    watch.take(said(3 * SECOND, published=20, epoch=1), heard=0)
    assert watch.changes()["market"].now.epoch == 2, "what the former incarnation still says is left aside"


def test_what_comes_late_is_left_aside() -> None:
    watch = Watch()
    for time, published in ((1, 10), (3, 30), (2, 20)):
        watch.take(said(time * SECOND, published=published), heard=0)
    assert watch.changes()["market"].now.value("mycelium_published_messages", service="a") == 30


def test_a_process_that_says_nothing_is_gone() -> None:
    watch = Watch(gone_ns=3 * SECOND)
    watch.take(said(1), heard=10 * SECOND)
    assert not watch.is_gone("market", 13 * SECOND)
    assert watch.gone(13 * SECOND + 1) == ["market"]
    assert watch.is_gone("other", 0)


@given(st.lists(st.integers(0, 1 << 40)), st.lists(st.integers(0, 1 << 40)))
def test_what_was_counted_since(before: list[int], after: list[int]) -> None:
    earlier, later, only = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for value in before:
        earlier.record(value)
        later.record(value)
    for value in after:
        later.record(value)
        only.record(value)
    since = later.since(earlier)
    assert since.buckets == only.buckets
    assert since.count == len(after)
    assert since.maximum >= only.maximum
