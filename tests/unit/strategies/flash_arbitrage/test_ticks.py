from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.flash_arbitrage.ticks import (
    _FACTORS,
    MAX_SQRT_RATIO,
    MAX_TICK,
    MIN_SQRT_RATIO,
    MIN_TICK,
    range_around,
    sqrt_ratio_at_tick,
)

TICKS = st.integers(MIN_TICK, MAX_TICK)


def test_the_ends_are_those_that_v3_core_states() -> None:
    assert sqrt_ratio_at_tick(MIN_TICK) == MIN_SQRT_RATIO
    assert sqrt_ratio_at_tick(MAX_TICK) == MAX_SQRT_RATIO
    assert sqrt_ratio_at_tick(0) == 2**96


@given(TICKS)
def test_the_ratio_is_the_power_within_what_128_bits_allow(tick: int) -> None:
    with localcontext() as context:
        context.prec = 80
        exact = Decimal("1.0001") ** (Decimal(tick) / 2) * 2**96
        # 20 truncated multiplications at 2**-128, more where the ratio itself is small, and the last rounding up.
        ratio = min(exact, 2**192 / exact) / 2**96
        assert abs(sqrt_ratio_at_tick(tick) - exact) <= 1 + exact * 20 / (ratio * 2**128)


@pytest.mark.parametrize("bit", range(20))
def test_every_factor_is_the_power_it_stands_for_to_the_nearest_whole_number(bit: int) -> None:
    with localcontext() as context:
        context.prec = 120
        exact = Decimal("1.0001") ** (-(Decimal(2) ** bit) / 2) * 2**128
        assert abs(_FACTORS[bit] - exact) < Decimal("0.5")


@given(st.integers(MIN_TICK, MAX_TICK - 1))
def test_ratios_rise_with_their_ticks(tick: int) -> None:
    assert sqrt_ratio_at_tick(tick) < sqrt_ratio_at_tick(tick + 1)


@given(TICKS, st.sampled_from((1, 10, 60, 200)))
def test_the_range_lies_between_neighbouring_multiples_of_the_spacing(tick: int, spacing: int) -> None:
    lower, upper = range_around(tick, spacing)
    assert lower <= max(sqrt_ratio_at_tick(tick), MIN_SQRT_RATIO + 1)
    assert upper >= min(sqrt_ratio_at_tick(min(tick + 1, MAX_TICK)), MAX_SQRT_RATIO - 1)
    inside = [t for t in range(max(tick - spacing, MIN_TICK), min(tick + spacing, MAX_TICK) + 1) if t % spacing == 0]
    assert not any(lower < sqrt_ratio_at_tick(t) < upper for t in inside)


def test_a_negative_tick_belongs_to_the_multiple_below_it() -> None:
    assert range_around(-1, 10) == (sqrt_ratio_at_tick(-10), sqrt_ratio_at_tick(0))


@pytest.mark.parametrize("tick", [MIN_TICK - 1, MAX_TICK + 1])
def test_ticks_end(tick: int) -> None:
    with pytest.raises(ValueError, match=str(tick)):
        sqrt_ratio_at_tick(tick)
    with pytest.raises(ValueError, match=str(tick)):
        range_around(tick, 10)
