"""The pace of one service, with a clock that the tests turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.broker.pace import BURST_SECONDS, PATIENCE, Pace
from tests.unit.transport.stores import stream

WINDOW = 100
RATES = st.sampled_from([1, 3, 100, 5_000])
STREAMS = [stream(f"test.{letter}") for letter in "abc"]

steps = st.lists(
    st.tuples(
        st.floats(0, 3, allow_subnormal=False),
        st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(1, 500)), max_size=5),
    ),
    max_size=30,
)  # fmt: skip


@given(RATES, steps)
def test_no_more_is_confirmed_than_the_rate_allows_and_in_the_end_everything_in_order(
    rate: int, steps: list[tuple[float, list[tuple[object, int]]]]
) -> None:
    pace, now, confirmed = Pace(rate, WINDOW, 10.0), 10.0, 0
    added: list[tuple[object, int]] = []
    sizes: list[int] = []
    come: list[tuple[object, int]] = []

    def see() -> None:
        nonlocal confirmed
        for found in pace.due(now):
            # The last one may take more than there is.
            assert confirmed < rate * (now - 10.0) + rate * BURST_SECONDS + 1e-6
            confirmed += sizes[len(come)]
            come.append(found)
            assert come[-1] == added[len(come) - 1]
        assert pace.messages == sum(sizes[len(come) :])
        assert pace.is_over == (pace.messages > PATIENCE * WINDOW)

    for passed, frames in steps:
        now += passed
        for of, count in frames:
            added.append((of, len(added)))
            sizes.append(count)
            pace.add(of, len(added) - 1, count)  # type: ignore[arg-type]
        see()
        # Nothing is kept back that may go.
        assert not pace.messages or confirmed >= min(rate * BURST_SECONDS, 1)
    needed = now + pace.messages / rate + BURST_SECONDS + max(sizes, default=0) / rate
    while now < needed:
        now += 0.5
        see()
    assert come == added
    assert pace.messages == 0


def test_what_is_saved_up_is_a_second_and_no_more() -> None:
    pace = Pace(10, WINDOW, 0.0)
    for number in range(1, 41):
        pace.add(STREAMS[0], number, 1)
    assert [last for _, last in pace.due(1_000.0)] == list(range(1, 11))
    assert list(pace.due(1_000.0)) == []
    assert [last for _, last in pace.due(1_000.5)] == list(range(11, 16))
    assert [last for _, last in pace.due(2_000.0)] == list(range(16, 26))


def test_a_frame_larger_than_what_is_saved_up_takes_from_those_after_it() -> None:
    pace = Pace(10, WINDOW, 0.0)
    pace.add(STREAMS[0], 1_000, 1_000)
    pace.add(STREAMS[0], 1_001, 1)
    assert list(pace.due(0.0)) == [(STREAMS[0], 1_000)]
    assert list(pace.due(98.9)) == []
    assert list(pace.due(99.1)) == [(STREAMS[0], 1_001)]


@pytest.mark.parametrize("count", [1, 7])
def test_who_does_not_keep_to_its_window_is_not_listened_to_until_it_is_done(count: int) -> None:
    pace = Pace(1, WINDOW, 0.0)
    list(pace.due(0.0))
    taken = 0
    while not pace.is_over:
        taken += count
        pace.add(STREAMS[0], taken, count)
    assert PATIENCE * WINDOW < taken <= PATIENCE * WINDOW + count
    now = 0.0
    while pace.messages > PATIENCE * WINDOW:
        now += 1.0
        list(pace.due(now))
    assert not pace.is_over


@given(RATES, st.lists(st.tuples(st.floats(0, 2, allow_subnormal=False), st.integers(1, 500)), max_size=50))
def test_what_is_not_kept_passes_at_the_rate(rate: int, frames: list[tuple[float, int]]) -> None:
    pace, now, passed = Pace(rate, WINDOW, 0.0), 0.0, 0
    for wait, count in frames:
        now += wait
        before = passed
        if pace.take(count, now):
            assert before < rate * now + rate * BURST_SECONDS + 1e-6
            passed += count
        else:
            assert passed >= min(rate * BURST_SECONDS, 1), "who has sent nothing yet may"
    # Whoever waits long enough may again.
    assert pace.take(1, now + passed / rate + 1.0)


def test_what_is_kept_and_what_is_not_share_a_rate() -> None:
    pace = Pace(10, WINDOW, 0.0)
    assert pace.take(10, 0.0)
    assert not pace.take(1, 0.0)
    pace.add(STREAMS[0], 1, 1)
    assert list(pace.due(0.0)) == []
    assert list(pace.due(0.15)) == [(STREAMS[0], 1)]
