"""Each row of the tracker's table, and a model to compare with."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mycelium.core.sequence import Gap, Observation, Overlap, Restarted, SequenceTracker, Started, Verdict


@pytest.mark.parametrize(
    ("run", "verdict", "expected_next"),
    [
        ((5, 11, 2), Verdict.IN_ORDER, 13),
        ((5, 14, 2), Gap(11, 14), 16),
        ((5, 9, 2), Verdict.DUPLICATE, 11),
        ((5, 9, 4), Overlap(2), 13),
        ((6, 1, 2), Restarted(10, 1), 3),
        ((4, 11, 2), Verdict.STALE, 11),
    ],
)
def test_each_row_of_the_table(run: tuple[int, int, int], verdict: Observation, expected_next: int) -> None:
    tracker = SequenceTracker()
    assert tracker.observe(5, 8, 3) == Started(8)
    assert tracker.observe(*run) == verdict
    assert tracker.expected == expected_next


def test_a_reader_that_was_told_where_it_joined_sees_a_hole_at_once() -> None:
    tracker = SequenceTracker()
    tracker.expect(5, 3)
    observed = tracker.observe(5, 4, 1)
    assert observed == Gap(3, 4)
    assert isinstance(observed, Gap)
    assert observed.missing == 1


class AgainstASet(RuleBasedStateMachine):
    """The model keeps every sequence seen or given up, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = SequenceTracker()
        self.epoch = -1
        self.done: set[int] = set()

    @rule(epoch=st.integers(0, 3), first=st.integers(1, 20), count=st.integers(1, 5))
    def run(self, epoch: int, first: int, count: int) -> None:
        observed = self.tracker.observe(epoch, first, count)
        numbers = set(range(first, first + count))
        if epoch < self.epoch:
            assert observed is Verdict.STALE
            return
        if epoch > self.epoch:
            kind = Started if self.epoch < 0 else Restarted
            assert isinstance(observed, kind)
            self.epoch, self.done = epoch, set(range(first))
        elif numbers <= self.done:
            assert observed is Verdict.DUPLICATE
        elif numbers & self.done:
            assert observed == Overlap(len(numbers & self.done))
        elif first == max(self.done, default=0) + 1:
            assert observed is Verdict.IN_ORDER
        else:
            assert observed == Gap(max(self.done, default=0) + 1, first)
            self.done |= set(range(first))
        self.done |= numbers
        assert self.tracker.expected == max(self.done) + 1


TestAgainstASet = AgainstASet.TestCase
