"""Whom to ask next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.rotation import Rotation

NAMES = ("a", "b", "c", "d")


def test_in_the_beginning_the_order_is_that_of_the_configuration() -> None:
    assert Rotation(NAMES).order(0.0) == list(NAMES)


def test_one_that_fails_comes_last_and_comes_back() -> None:
    rotation = Rotation(NAMES)
    rotation.failed("a", "timeout", 0.0)
    assert rotation.order(0.0) == ["b", "c", "d", "a"]
    for _ in range(60):
        rotation.answered("a")
    assert rotation.standings[0].score > 0.99
    rotation.failed("b", "timeout", 0.0)
    assert rotation.order(0.0) == ["c", "d", "a", "b"]


def test_one_that_wants_to_be_left_alone_is_asked_when_there_is_no_other() -> None:
    rotation = Rotation(NAMES[:2])
    rotation.failed("a", "rate_limited", 10.0, wait=5.0)
    assert rotation.order(12.0) == ["b", "a"]
    assert rotation.wait("a", 12.0) == 3.0
    assert rotation.wait("a", 15.0) == 0.0
    assert rotation.order(12.0, without=["b"]) == ["a"]


def test_one_that_lags_is_not_preferred() -> None:
    rotation = Rotation(NAMES)
    for name in NAMES:
        rotation.saw_head(name, 100 if name != "a" else 97)
    assert rotation.order(0.0) == ["b", "c", "d", "a"]
    rotation.saw_head("a", 100)
    rotation.saw_head("a", 90)
    assert rotation.order(0.0) == list(NAMES), "a head that was told of stays"


def test_failures_are_counted_by_cause() -> None:
    rotation = Rotation(NAMES)
    for cause in ("timeout", "timeout", "http_status"):
        rotation.failed("b", cause, 0.0)
    assert rotation.standings[1].causes == {"timeout": 2, "http_status": 1}


def test_there_must_be_one() -> None:
    with pytest.raises(ValueError, match="needs an endpoint"):
        Rotation([])


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.floats(0, 10)), max_size=200))
def test_nobody_is_ever_forgotten(history: list[tuple[str, bool, float]]) -> None:
    rotation = Rotation(NAMES)
    for now, (name, good, wait) in enumerate(history):
        if good:
            rotation.answered(name)
        else:
            rotation.failed(name, "timeout", now, wait)
        assert sorted(rotation.order(now)) == list(NAMES)
    assert all(0 < standing.score <= 1 for standing in rotation.standings)
