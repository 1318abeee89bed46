"""The protocol as values and bytes: no sockets, no clock, no tasks."""
