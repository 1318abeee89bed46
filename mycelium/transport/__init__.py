"""How messages get from a publisher to a subscriber: by reference in one event loop, in frames beyond it."""
