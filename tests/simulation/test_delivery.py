"""Publishers, a store and readers over a network and a disk that fail in every way, step by step.

Hypothesis chooses the steps; what it finds it makes small. ``make simulate SEEDS=…`` runs more. What must hold
stands in ``teardown`` and the invariants: when the faults end, everything ends, and nothing is lost.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mycelium.core.delivery.frames import StreamKey
from mycelium.testing.simulation import (
    SimulatedDisk,
    SimulatedNetwork,
    SimulatedPublisher,
    SimulatedReader,
    SimulatedStore,
)

EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "150"))
STEPS = 60

indexes = st.integers(0, 10_000)
topics = st.sampled_from(["a", "b"])


class Delivery(RuleBasedStateMachine):
    """Two publishers (one with an outbox), one store, three readers (one durable, one that has just crashed often)."""

    @initialize(syncs_at_once=st.booleans())
    def begin(self, syncs_at_once: bool) -> None:
        self.network = SimulatedNetwork()
        self.store = SimulatedStore(self.network, SimulatedDisk())
        self.syncs_at_once = syncs_at_once
        self.publishers = [
            SimulatedPublisher(self.network, self.store, "plain", outbox=False),
            SimulatedPublisher(self.network, self.store, "careful", outbox=True),
        ]
        self.readers = [
            SimulatedReader(self.network, self.store, "durable", durable=True),
            SimulatedReader(self.network, self.store, "forgetful", durable=False),
            SimulatedReader(self.network, self.store, "narrow", durable=False, max_aside=1),
        ]
        self.nodes: list[SimulatedPublisher | SimulatedReader] = [*self.publishers, *self.readers]

    # --- work ---------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), topic=topics, count=st.integers(1, 3), given_up=st.sampled_from([0, 0, 0, 2]))
    def publish(self, which: int, topic: str, count: int, given_up: int) -> None:
        if self.publishers[which].may_publish:
            self.publishers[which].publish(topic, count, given_up)

    @precondition(lambda self: self.network.packets)
    @rule(index=indexes)
    def arrive(self, index: int) -> None:
        self.network.arrive(index)
        if self.syncs_at_once and self.store.name in self.network.up:
            self.store.sync()

    @precondition(lambda self: self.network.packets)
    @rule(number=st.integers(1, 30))
    def arrive_in_order(self, number: int) -> None:
        for _ in range(min(number, len(self.network.packets))):
            self.arrive(0)

    @rule()
    def sync(self) -> None:
        if self.store.name in self.network.up:
            self.store.sync()

    @rule(which=st.integers(0, 2))
    def store_cursor(self, which: int) -> None:
        self.readers[which].store_cursor()

    @rule(which=st.integers(0, 4))
    def time_passes(self, which: int) -> None:
        node = self.nodes[which]
        if node.name in self.network.up:
            node.tick()

    @rule(which=st.integers(0, 2))
    def pause(self, which: int) -> None:
        self.readers[which].pause()

    @rule(which=st.integers(0, 2))
    def go_on(self, which: int) -> None:
        self.readers[which].go_on()

    # --- faults -------------------------------------------------------------------------------

    @precondition(lambda self: self.network.packets)
    @rule(index=indexes)
    def lose(self, index: int) -> None:
        self.network.lose(index)

    @precondition(lambda self: self.network.packets)
    @rule(index=indexes)
    def repeat(self, index: int) -> None:
        self.network.arrive(index, keep=True)

    @rule(lost=st.integers(0, 5))
    def crash_the_store(self, lost: int) -> None:
        if self.store.name in self.network.up:
            self.store.crash(lost)

    @rule()
    def start_the_store(self) -> None:
        if self.store.name not in self.network.up:
            self.store.start()

    @rule(which=st.integers(0, 4))
    def restart(self, which: int) -> None:
        node = self.nodes[which]
        if node.name in self.network.up:
            node.crash()
        else:
            node.start()

    @rule(which=st.integers(0, 4))
    def partition(self, which: int) -> None:
        self.network.cut.add(frozenset((self.store.name, self.nodes[which].name)))

    @rule()
    def heal(self) -> None:
        self.network.cut.clear()

    @rule(number=st.integers(1, 3))
    def retention(self, number: int) -> None:
        # What was not synced is not old enough to be removed.
        if self.store.name in self.network.up and self.store.disk.synced >= number:
            self.store.trim(number)

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def every_stream_is_in_order(self) -> None:
        for reader in getattr(self, "readers", []):
            for stream, numbers in reader.handled.items():
                self.check_order(reader, stream, numbers)

    def check_order(self, reader: SimulatedReader, stream: StreamKey, numbers: list[int]) -> None:
        """Without repeats but those that follow a crash, where the reader begins again at its cursor."""
        seen = reader.begins.get(stream, 1) - 1
        for number in numbers:
            if number <= seen:
                assert reader.durable, f"{reader.name} got {number} of {stream} again"
                continue
            between = set(range(seen + 1, number))
            assert between <= reader.expired[stream], f"{reader.name} misses {between} of {stream}"
            seen = number

    @invariant()
    def the_store_has_no_holes(self) -> None:
        if not hasattr(self, "store"):
            return
        disk = self.store.disk
        last = dict(disk.trimmed)
        left_out = self.left_out()
        for frame in disk.frames:
            between = set(range(last.get(frame.stream, 0) + 1, frame.sequence))
            assert between <= left_out.get(frame.stream, set()), f"{frame} does not follow {last}"
            last[frame.stream] = frame.last

    def left_out(self) -> dict[StreamKey, set[int]]:
        """What was never sent, by stream."""
        return {stream: numbers for one in self.publishers for stream, numbers in one.given_up.items()}

    def check_expired(self) -> None:
        """A reader gives up only what retention has removed, or what was never sent."""
        for reader in self.readers:
            for stream, numbers in reader.expired.items():
                gone = self.left_out().get(stream, set())
                kept = {number for number in numbers if number > self.store.disk.trimmed.get(stream, 0)}
                assert kept <= gone, f"{reader.name} gave up {kept - gone} of {stream}"

    @invariant()
    def nothing_confirmed_is_lost(self) -> None:
        for publisher in getattr(self, "publishers", []):
            for stream, confirmed in publisher.confirms.items():
                assert self.store.mark(stream).last >= confirmed, "confirmed and lost"

    @invariant()
    def memory_is_bounded(self) -> None:
        for reader in getattr(self, "readers", []):
            assert reader.state.put_aside <= 3
        for publisher in getattr(self, "publishers", []):
            assert publisher.window.messages < 16 + 3

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.network.cut.clear()
        if self.store.name not in self.network.up:
            self.store.start()
        for node in self.nodes:
            if node.name not in self.network.up:
                node.start()
        for reader in self.readers:
            reader.go_on()
        self.run_until_quiet()
        for publisher in self.publishers:
            assert publisher.window.is_empty, f"{publisher.name} still waits for confirms"
        for mark in self.store.marks():
            for reader in self.readers:
                reached = reader.state.expected(mark.stream) - 1
                # Further, where the store has lost what it had neither synced nor confirmed, and the publisher too.
                assert reached >= mark.last, f"{reader.name} is at {reached} of {mark}"
                begins = reader.begins.get(mark.stream, 1)
                got = {*reader.handled[mark.stream], *reader.expired[mark.stream]}
                assert got >= set(range(begins, mark.last + 1)), f"{reader.name} misses some of {mark}"
        self.the_store_has_no_holes()
        self.check_expired()
        for publisher in self.publishers:
            for stream, published in publisher.published.items():
                kept = self.store.mark(stream).last
                if publisher.outbox:
                    assert kept == published, f"{publisher.name} has an outbox and lost {kept + 1} to {published}"
        self.every_stream_is_in_order()

    def run_until_quiet(self) -> None:
        """Everything arrives, time passes, until nothing changes any more. It must come to that."""
        for _ in range(60):
            while self.network.packets:
                self.network.arrive(0)
            self.store.sync()
            while self.network.packets:
                self.network.arrive(0)
            before = self.picture()
            for node in self.nodes:
                node.tick()
            while self.network.packets:
                self.network.arrive(0)
            if self.picture() == before and all(publisher.window.is_empty for publisher in self.publishers):
                return
        raise AssertionError("it does not come to rest")

    def picture(self) -> object:
        return (
            [(len(reader.handled[mark.stream]), mark) for reader in self.readers for mark in self.store.marks()],
            [publisher.window.messages for publisher in self.publishers],
        )


Delivery.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
TestDelivery = Delivery.TestCase
