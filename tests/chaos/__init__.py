"""Real processes, killed for real: nothing may be lost, repeated or out of order, and the books must balance.

``python -m tests.chaos`` is ``make chaos``.
"""
