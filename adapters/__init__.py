"""Services at the edge of the system: they touch the outside world."""
