"""The broker: keeps and passes on what is published, between hosts."""
