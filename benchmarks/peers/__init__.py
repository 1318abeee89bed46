"""The same work done by peers and by us in the same run: ``python -m benchmarks.peers`` (``make bench-peers``).

A typed message of four integers is encoded and sent by one process, and received and decoded by another one.
Each peer has a module of its own with its settings and why they are fair, and runs in processes of its own.
"""
