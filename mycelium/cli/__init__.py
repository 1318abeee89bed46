"""The ``mycelium`` command: one module per command."""
