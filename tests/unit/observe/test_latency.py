"""The histogram against sorting everything."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mycelium.observe.latency import LatencyHistogram

durations = st.lists(st.integers(0, 2**45), min_size=1, max_size=60)


@given(durations, st.floats(0.01, 1))
def test_a_quantile_is_at_most_one_bucket_above_the_exact_one(values: list[int], fraction: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    exact = sorted(values)[max(math.ceil(fraction * len(values)) - 1, 0)]
    assert exact <= histogram.quantile(fraction) <= max(exact * (1 + 1 / 32), exact)
    assert histogram.quantile(1) == max(values)


@given(durations, durations)
def test_adding_is_recording_both(first: list[int], second: list[int]) -> None:
    one, other, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for value in first:
        one.record(value)
        both.record(value)
    for value in second:
        other.record(value)
        both.record(value)
    one.add(other)
    for fraction in (0.1, 0.5, 0.99, 1):
        assert one.quantile(fraction) == both.quantile(fraction)
    assert one.count == both.count


def test_nothing_recorded_is_zero_and_a_clock_set_back_counts_as_zero() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile(0.5) == 0
    histogram.record(-5)
    assert (histogram.count, histogram.quantile(1)) == (1, 0)


@given(durations, st.lists(st.integers(0, 2**46), min_size=1, max_size=10, unique=True).map(sorted))
def test_what_is_up_to_a_bound_is_never_shown_as_quicker(values: list[int], bounds: list[int]) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    found = histogram.up_to(bounds)
    assert found == sorted(found)
    for bound, count in zip(bounds, found, strict=True):
        at_most = sum(value <= bound for value in values)
        surely = sum(value * (1 + 1 / 32) <= bound for value in values)
        assert surely <= count <= at_most


@given(durations)
def test_the_total_is_close_to_the_sum(values: list[int]) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    assert math.isclose(histogram.total, sum(values), rel_tol=1 / 64)
