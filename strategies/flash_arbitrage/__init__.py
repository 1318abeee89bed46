"""Finds cycles of swaps which end with more of a token than they began with, to be paid for by a flash loan."""
