"""Logging: structlog, as lines for a person or as JSON for a machine, always on standard error."""

from __future__ import annotations

import atexit
import enum
import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

import structlog

from mycelium.observe.current import SPAN, handled, id_of
from mycelium.observe.redaction import redact


class LogFormat(enum.StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


_LEVELS = logging.getLevelNamesMapping()


class _Threshold:
    """Drops what is less severe than the level. A processor, so that the level of every logger can change at once."""

    def __init__(self) -> None:
        self.level = logging.INFO

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _LEVELS.get(method.upper(), logging.CRITICAL) < self.level:
            raise structlog.DropEvent
        return event


_threshold = _Threshold()

MOST = 20
"""Lines that say the same of the same within :data:`WINDOW_SECONDS`. Chosen by us: one sees that it goes on and how
fast, and a fault of each of a million messages fills no disk."""

WINDOW_SECONDS = 10.0
_WHOSE = ("service", "handler", "store", "reader", "who", "endpoint")
_MAX_KEYS = 1_000


class Repeats:
    """Drops warnings and errors that say the same thing again and again. A processor.

    What is less severe is shown as it comes: it tells of progress, and whoever wants it has asked for it. The next one
    that is shown, at the end of the window or later, says with ``left_out`` how many were not.

    Args:
        now: seconds, by a clock that only goes forward.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._windows: dict[tuple[str, ...], tuple[float, int]] = {}
        self._forgotten = 0

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Show the line, or drop it."""
        if _LEVELS.get(method.upper(), logging.CRITICAL) < logging.WARNING:
            return event
        key = (method, str(event.get("event")), *(str(event.get(name, "")) for name in _WHOSE))
        now = self._now()
        began, count = self._windows.get(key, (now, 0))
        left_out = 0
        if now - began >= WINDOW_SECONDS:
            left_out, began, count = max(0, count - MOST), now, 0
        elif len(self._windows) >= _MAX_KEYS and key not in self._windows:
            self._forgotten = self.left_out()
            self._windows.clear()
        self._windows[key] = (began, count + 1)
        if count >= MOST:
            raise structlog.DropEvent
        if left_out:
            event["left_out"] = left_out
        return event

    def left_out(self) -> int:
        """Lines that were dropped and that no line has told of."""
        return self._forgotten + sum(max(0, count - MOST) for _, count in self._windows.values())


def _add_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What this task handles, and in which trace."""
    item = handled()
    if item is not None:
        event.setdefault("message", id_of(item).written(item.route.stream.id.source_name))
    span = SPAN.get()
    if span is not None:
        event.setdefault("trace_id", f"{span.context.trace_id:032x}")
        event.setdefault("span_id", f"{span.context.span_id:016x}")
    return event


_repeats: Repeats | None = None


@atexit.register
def _tell_left_out() -> None:
    number = _repeats.left_out() if _repeats is not None else 0
    if number:
        structlog.get_logger("logging").warning("lines that said the same were left out", lines=number)


def set_level(level: str) -> None:
    """Show from now on what is at least as severe: debug, info, warning, error."""
    _threshold.level = _LEVELS[level.upper()]


def _rendering(form: LogFormat, *, colors: bool) -> tuple[structlog.typing.Processor, structlog.typing.Processor]:
    """What makes a value of an exception, and what makes a line of all values: what is secret is replaced between."""
    # No local variables in tracebacks: they may hold what must not be logged.
    if form is LogFormat.JSON:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()
    plain = structlog.dev.plain_traceback
    return (
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
    )


def configure_logging(
    *, level: str = "info", form: LogFormat = LogFormat.CONSOLE, stream: TextIO | None = None
) -> None:
    """Set up structlog for this process.

    Args:
        level: the least severe level shown: debug, info, warning, error.
        form: lines for a person (coloured on a terminal) or JSON.
        stream: where to, standard error by default.
    """
    global _repeats  # noqa: PLW0603 - structlog is configured once for the whole process
    _repeats = Repeats()
    out = stream if stream is not None else sys.stderr
    tracebacks, renderer = _rendering(form, colors=out.isatty())
    set_level(level)
    structlog.configure(
        processors=[
            _threshold,
            _repeats,
            _add_ids,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            tracebacks,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
