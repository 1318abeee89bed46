"""What is made of figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.bench.statistics import Figure, Latency, half_round_trips, middle, next_count, percentile


@pytest.mark.parametrize(
    ("values", "part", "found"),
    [([7.0], 0.01, 7.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0, 3.0], 0.5, 2.0), ([1.0, 2.0, 3.0], 1, 3.0)],
)
def test_a_percentile_is_one_of_the_values(values: list[float], part: float, found: float) -> None:
    assert percentile(values, part) == found


@given(st.lists(st.floats(0, 1e9), min_size=1).map(sorted), st.floats(0.001, 1))
def test_the_part_of_the_values_does_not_exceed_it(values: list[float], part: float) -> None:
    found = percentile(values, part)
    assert sum(value <= found for value in values) >= part * len(values) - 1e-6
    assert sum(value < found for value in values) < part * len(values)


def test_a_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


def test_one_way_takes_half() -> None:
    assert half_round_trips([4_000_000] * 2 + [2_000] * 97 + [6_000]) == Latency(1.0, 2_000.0)


def test_a_round_that_was_disturbed_does_not_count() -> None:
    figures = [
        Figure(100, Latency(1, 10), 50),
        Figure(3, Latency(900, 9_000), 70),
        Figure(110, Latency(2, 8), 60),
    ]
    assert middle(figures) == Figure(100, Latency(2, 10), 60)


def test_what_was_not_measured_stays_so() -> None:
    assert middle([Figure(4), Figure(2)]) == Figure(3)
    with pytest.raises(ValueError, match="at least one"):
        middle([])


@pytest.mark.parametrize(
    ("count", "took", "following"),
    [(1_000, 0.1, 10_000), (1_000, 0.9, 2_000), (1_000, 0.001, 20_000), (1_000, 0.0, 20_000)],
)
def test_runs_grow(count: int, took: float, following: int) -> None:
    assert next_count(count, took, 1.0) == following
