"""Shows how far services have come: bars on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from mycelium.service.service import Progress

LOG_EVERY_NS = 5_000_000_000

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("host")


class ProgressView:
    """Takes the progress that services report.

    Args:
        console: where the bars go.
        time_ns: for the pace of log lines.
        quiet: show nothing.
    """

    def __init__(self, console: Console, time_ns: Callable[[], int], *, quiet: bool) -> None:
        self._time_ns = time_ns
        self._quiet = quiet
        self._logged_at = time_ns()
        self._tasks: dict[str, TaskID] = {}
        self._bars: Bars | None = None
        if console.is_terminal and not quiet:
            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def report(self, progress: Progress) -> None:
        """Show one service's progress."""
        if self._bars is not None:
            task = self._tasks.get(progress.service)
            if task is None:
                task = self._bars.add_task(progress.service, total=progress.total, unit=progress.unit)
                self._tasks[progress.service] = task
            self._bars.update(task, completed=progress.done, total=progress.total)
        elif not self._quiet and self._time_ns() - self._logged_at >= LOG_EVERY_NS:
            self._logged_at = self._time_ns()
            log.info("progress", service=progress.service, done=progress.done, total=progress.total, unit=progress.unit)
