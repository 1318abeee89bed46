"""The figures of a broker."""

from __future__ import annotations

from mycelium.broker.broker import BrokerStatistics
from mycelium.journal import JournalStatistics
from mycelium.observe.figures import Figures
from mycelium.transport.store import StoreStatistics


def tell_broker(figures: Figures, broker: BrokerStatistics) -> None:
    """Add the figures of a broker.

    Args:
        figures: what to add them to.
        broker: what it has done so far.
    """
    ready = figures.gauge("mycelium_ready", "Whether a part of this process is at work, as /readyz says.", "part")
    ready.add(broker.is_open, "broker")
    ready.add(not (broker.is_full or broker.has_failed), "journal")
    messages = figures.counter("mycelium_broker_messages", "Messages that publishers sent.", "result")
    messages.add(broker.accepted, "kept")
    messages.add(broker.passed_on, "passed on")
    messages.add(broker.duplicates, "duplicate")
    unconfirmed = figures.gauge("mycelium_broker_unconfirmed_frames", "Frames that wait to be durable and confirmed.")
    unconfirmed.add(broker.unconfirmed)
    connections = figures.gauge("mycelium_broker_connections", "Connections from the network.", "port")
    for port, number in {**broker.store.connections, "publish": broker.publishing}.items():
        connections.add(number, port)
    _tell_store(figures, broker.store)
    _tell_journal(figures, broker.store.journal, is_full=broker.is_full)


def _tell_store(figures: Figures, store: StoreStatistics) -> None:
    figures.gauge("mycelium_broker_clients", "Processes that are there.").add(store.clients)
    figures.gauge("mycelium_broker_subscriptions", "Prefixes that readers subscribe to.").add(store.subscriptions)
    repairs = figures.counter("mycelium_broker_repairs", "Requests for what a reader has missed that were answered.")
    repairs.add(store.repairs)
    waiting = figures.gauge("mycelium_broker_repairs_waiting", "Requests for what a reader has missed that wait.")
    waiting.add(store.repairs_waiting)
    refused = figures.counter("mycelium_broker_refused", "Messages, requests and connections refused.", "cause")
    for cause, number in store.refused.items():
        refused.add(number, cause)
    lag = figures.gauge(
        "mycelium_reader_lag_messages", "Messages that a durable reader or group is behind, of those kept.", "reader"
    )
    for reader, number in store.lags.items():
        lag.add(number, reader)
    figures.gauge("mycelium_journal_messages", "Messages kept.").add(store.kept_messages)
    expired = figures.counter("mycelium_journal_expired_messages", "Messages that retention has removed.", "cause")
    for cause, number in store.expired.items():
        expired.add(number, cause)


def _tell_journal(figures: Figures, journal: JournalStatistics, *, is_full: bool) -> None:
    figures.gauge("mycelium_journal_streams", "Streams known.").add(journal.streams)
    figures.gauge("mycelium_journal_readers", "Durable readers and groups known.").add(journal.readers)
    figures.gauge("mycelium_journal_frames", "Frames kept.").add(journal.frames)
    figures.gauge("mycelium_journal_frame_bytes", "Bytes of the frames kept.").add(journal.frame_bytes)
    figures.gauge("mycelium_journal_stored_bytes", "What the journal takes.").add(journal.stored_bytes)
    figures.gauge("mycelium_journal_max_bytes", "What the journal may take.").add(journal.max_bytes)
    free = figures.gauge("mycelium_journal_disk_free_bytes", "What the disk below the journal has left.")
    if journal.free_bytes is not None:
        free.add(journal.free_bytes)
    figures.gauge("mycelium_journal_full", "Whether publishers wait for room in the journal.").add(is_full)
    figures.counter("mycelium_journal_appended_frames", "Frames appended.").add(journal.appended)
    figures.counter("mycelium_journal_syncs", "Explicit syncs to the disk.").add(journal.syncs)
    full = figures.counter("mycelium_journal_refused_batches", "Batches for which the journal had no room.")
    full.add(journal.refused_full)
    removed = figures.counter("mycelium_journal_removed_frames", "Frames removed.", "cause")
    for cause, number in journal.removed.items():
        removed.add(number, cause)
