"""Shows a running system in a browser: who is there, what flows, what was found, what is lost."""
