"""As many messages begin a trace as was asked for, and no more within a second than that."""

from __future__ import annotations

from random import Random

import pytest

from mycelium.core.topics import Pattern
from mycelium.observe.sampling import NEVER, SECOND_NS, Ratios, Sampler


@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.01])
def test_gaps_are_those_of_a_die_that_is_thrown_for_each(ratio: float) -> None:
    sampler = Sampler(Ratios(ratio), Random(7).random)
    gaps = [sampler.gap("a") for _ in range(40_000)]
    assert min(gaps) == 1
    assert sum(gaps) / len(gaps) == pytest.approx(1 / ratio, rel=0.03)
    # The part of gaps that are longer than n is (1 - ratio) ** n.
    longer = sum(gap > 1 / ratio for gap in gaps) / len(gaps)
    assert longer == pytest.approx((1 - ratio) ** (1 / ratio), abs=0.01)


def test_all_and_none() -> None:
    assert Sampler(Ratios(1.0), Random(7).random).gap("a") == 1
    assert Sampler(Ratios(0.0), Random(7).random).gap("a") == NEVER


def test_the_smallest_ratio_gives_numbers_that_one_can_count_with() -> None:
    sampler = Sampler(Ratios(1e-300), Random(7).random)
    assert all(1 <= sampler.gap("a") <= NEVER for _ in range(100))


def test_topics_have_ratios_of_their_own_the_first_that_matches() -> None:
    topics = ((Pattern.parse("signals.>"), 1.0), (Pattern.parse("*.a"), 0.0))
    sampler = Sampler(Ratios(0.5, topics=topics), Random(7).random)
    assert sampler.own_ratio("signals.a") == 1.0
    assert sampler.own_ratio("market.a") == 0.0
    assert sampler.own_ratio("market.b") is None
    assert (sampler.gap("signals.a"), sampler.gap("market.a")) == (1, NEVER)


def test_no_more_begin_within_a_second() -> None:
    sampler = Sampler(Ratios(1.0, per_second=3), Random(7).random)
    assert [sampler.admits(5 * SECOND_NS + n) for n in range(5)] == [True, True, True, False, False]
    assert sampler.held_back == 2
    assert sampler.admits(6 * SECOND_NS)


def test_pieces_of_work_are_chosen_by_the_same_ratio() -> None:
    sampler = Sampler(Ratios(0.25), Random(7).random)
    assert sum(sampler.chooses() for _ in range(40_000)) / 40_000 == pytest.approx(0.25, abs=0.01)
