"""Questions become smaller when a node refuses them, and larger again by and by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.ranges import LARGEST, Range


@given(st.integers(1, 5_000), st.integers(1, LARGEST), st.integers(0, 3_000))
def test_every_block_is_asked_for_once_whatever_a_node_takes(limit: int, size: int, blocks: int) -> None:
    range_ = Range(size)
    first, questions = 1, 0
    asked: list[int] = []
    while first <= blocks:
        questions += 1
        start, end = range_.next(first, blocks)
        assert start == first <= end <= blocks
        if end - start + 1 > limit:
            assert range_.refused(), "one block is never too much here"
            continue
        asked += range(start, end + 1)
        range_.answered()
        first = end + 1
    assert asked == list(range(1, blocks + 1))
    assert questions <= 2 * (blocks // max(1, min(limit, size) // 2) + 20), "it does not try in vain for ever"


def test_it_grows_to_what_a_node_takes() -> None:
    range_ = Range(1, largest=64)
    for _ in range(100):
        range_.answered()
    assert range_.size == 64


def test_one_block_that_is_too_much_is_said() -> None:
    range_ = Range(2)
    assert range_.refused()
    assert not range_.refused()
    assert range_.size == 1


@pytest.mark.parametrize("size", [0, -1, LARGEST + 1])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size}: must be between 1 and {LARGEST}"):
        Range(size)
