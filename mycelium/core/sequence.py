"""Order within one stream: what a received run of sequence numbers means.

Theory of operation. A *stream* is one publisher incarnation (source, epoch) on one topic. Its
publisher numbers messages from 1 without holes. A reader holds, per (source, topic), the epoch it
follows and the sequence it expects next. A run of ``count`` messages from ``sequence`` is then

==========  =============================================  ==================  ====================
epoch       run                                            verdict             state afterwards
==========  =============================================  ==================  ====================
none held   any                                            :class:`Started`    follows this epoch
the same    starts at the expected sequence                ``IN_ORDER``        expects its end
the same    starts beyond it                               :class:`Gap`        expects its end
the same    ends before it                                 ``DUPLICATE``       unchanged
the same    starts before it and ends beyond it            :class:`Overlap`    expects its end
newer       any                                            :class:`Restarted`  follows the new epoch
older       any                                            ``STALE``           unchanged
==========  =============================================  ==================  ====================

The tracker says what happened and leaves to its caller what to do about it: whether a gap is
repaired or counted is a matter of the path.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """The verdicts that carry nothing but themselves."""

    IN_ORDER = "in order"
    DUPLICATE = "duplicate"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Started:
    """The first run seen of this source and topic. ``first`` above 1 means that the reader came late."""

    first: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages ``expected`` to ``received - 1`` have not come."""

    expected: int
    received: int

    @property
    def missing(self) -> int:
        """How many messages have not come."""
        return self.received - self.expected


@dataclass(frozen=True, slots=True)
class Overlap:
    """The first ``skip`` messages of the run were seen before, the rest is new."""

    skip: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The publisher came back as a new incarnation, whose run starts at ``first``.

    ``last_seen`` is the last sequence seen of the former epoch.
    """

    last_seen: int
    first: int


Observation = Verdict | Started | Gap | Overlap | Restarted


class SequenceTracker:
    """Follows one (source, topic). See the table at the top of this file."""

    __slots__ = ("epoch", "expected")

    def __init__(self) -> None:
        self.epoch: int = -1
        self.expected: int = 0

    def expect(self, epoch: int, sequence: int) -> None:
        """Follow ``epoch`` from ``sequence`` on: what a reader knows that was told where it joined."""
        self.epoch = epoch
        self.expected = sequence

    def observe(self, epoch: int, sequence: int, count: int) -> Observation:
        """What a run of ``count`` messages from ``sequence`` means, and move on by it."""
        if epoch == self.epoch:
            expected = self.expected
            if sequence == expected:
                self.expected = sequence + count
                return Verdict.IN_ORDER
            end = sequence + count
            if end <= expected:
                return Verdict.DUPLICATE
            self.expected = end
            if sequence > expected:
                return Gap(expected, sequence)
            return Overlap(expected - sequence)
        if epoch < self.epoch:
            return Verdict.STALE
        held, last_seen = self.epoch, self.expected - 1
        self.epoch = epoch
        self.expected = sequence + count
        return Started(sequence) if held < 0 else Restarted(last_seen, sequence)
