"""Follows a chain as it grows, through JSON-RPC endpoints that fail, lag and contradict one another."""
