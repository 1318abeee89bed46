"""What became of every message, from what the readers noted and from the books of the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mycelium.core.delivery.control import StreamBook
from mycelium.transport.books import StoreBooks
from tests.chaos.plan import Plan, ReaderPlan
from tests.chaos.records import Run, runs_of


@dataclass(frozen=True)
class Verdict:
    """The line that a run ends with. ``unseen`` is what ``publish`` had promised and no store ever had."""

    published: int
    delivered: int
    duplicates: int
    lost: int
    out_of_order: int
    balanced: bool
    unseen: int

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return self.balanced and not (self.duplicates or self.lost or self.out_of_order or self.unseen)

    def __str__(self) -> str:
        ledger = "balanced" if self.balanced else "unbalanced"
        return (
            f"published={self.published} delivered={self.delivered} duplicates={self.duplicates} "
            f"lost={self.lost + self.unseen} out_of_order={self.out_of_order} ledger={ledger}"
        )


def place_of(book: StreamBook) -> tuple[int, int, int]:
    """Publisher, lane, epoch."""
    _, publisher, lane = book.stream.topic.split(".")
    return int(publisher[1:]), int(lane), book.stream.epoch


def wanted(reader: ReaderPlan, books: StoreBooks) -> list[StreamBook]:
    """The streams that are for a reader."""
    return [book for book in books.streams if reader.wants(*place_of(book)[:2])]


def is_done(plan: Plan, books: StoreBooks) -> bool:
    """Whether every reader is through with everything, and the store has heard so."""
    return all(
        reader.account in book.readers and book.readers[reader.account].cursor == book.last
        for reader in plan.readers
        for book in wanted(reader, books)
    )


def judge(plan: Plan, books: StoreBooks) -> Verdict:
    """Compare what the store has with what each reader has handled."""
    delivered = duplicates = lost = out_of_order = 0
    balanced = True
    judged: set[str] = set()
    for reader in plan.readers:
        if reader.account in judged:
            continue
        judged.add(reader.account)
        handled = _by_stream(runs_of(plan.seen(reader)))
        for book in wanted(reader, books):
            counts = _count(handled.pop(place_of(book), []), book.last)
            delivered += counts[0]
            duplicates += counts[1]
            lost += counts[2]
            out_of_order += counts[3]
            account = book.readers.get(reader.account)
            balanced &= account is not None and account.missing == 0 and account.delivered == book.last
            balanced &= account is not None and not account.dropped
        lost += sum(run.length for runs in handled.values() for run in runs)  # of streams that the store has not
    unseen = sum(plan.audit(publisher.name).read_bytes()[1:].count(0) for publisher in plan.publishers)
    published = sum(book.last for book in books.streams)
    return Verdict(published, delivered, duplicates, lost, out_of_order, balanced, unseen)


def _by_stream(runs: Iterable[Run]) -> dict[tuple[int, int, int], list[Run]]:
    found: dict[tuple[int, int, int], list[Run]] = {}
    for run in runs:
        found.setdefault((run.publisher, run.lane, run.epoch), []).append(run)
    return found


def _count(runs: list[Run], last: int) -> tuple[int, int, int, int]:
    """Delivered, duplicates, lost, out of order."""
    seen = bytearray(last + 1)
    duplicates = out_of_order = expected = 0
    for run in runs:
        if run.first <= expected:
            out_of_order += run.length
        expected = max(expected, run.first + run.length - 1)
        for number in range(run.first, run.first + run.length):
            if number <= last:
                duplicates += seen[number]
                seen[number] = 1
    delivered = sum(seen)
    return delivered, duplicates, last - delivered, out_of_order
