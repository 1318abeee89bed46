"""Typed publish and subscribe."""
