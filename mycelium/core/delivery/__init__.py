"""Delivery with nothing lost, as state machines: who keeps what until whom has confirmed it. No I/O, no clock.

Three machines, one for each place:

- :class:`~mycelium.core.delivery.window.PublisherWindow` keeps a publisher's frames until the store has them.
- :class:`~mycelium.core.delivery.admission.Admission` lets each frame into the store once and in order.
- :class:`~mycelium.core.delivery.reader.ReaderState` finds holes, asks for what is missing, hands over in order.

The *store* is whoever keeps the journal: the broker, or over ipc the publisher itself. Between the three
anything may be dropped, repeated, reordered or delayed, and each may crash; ``tests/simulation`` does all of
that to them.
"""
