"""Real processes for tests: the broker as ``mycelium broker`` starts it, and programs that do as they are told."""
