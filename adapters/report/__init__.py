"""Writes down what a run saw, and makes a page of it."""
