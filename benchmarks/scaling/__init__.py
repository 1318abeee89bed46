"""What a message costs as there is more of everything, and of raw ZeroMQ beside it: ``python -m benchmarks.scaling``.

The claims that it holds to the figures: throughput per core falls by no more than that of raw ZeroMQ does when readers,
publishers or topics become more; the broker's memory and work stay the same however many messages have passed.
"""
