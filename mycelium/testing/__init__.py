"""Helpers for the tests of what is built on Mycelium: a clock to turn by hand, and the conformance suite."""

from mycelium.testing.clock import ManualClock

__all__ = ["ManualClock"]
