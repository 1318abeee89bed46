"""Logging: structlog, as lines for a person or as JSON for a machine, always on standard error."""

from __future__ import annotations

import enum
import logging
import sys
from typing import TextIO

import structlog

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
    out = stream if stream is not None else sys.stderr
    tracebacks, renderer = _rendering(form, colors=out.isatty())
    set_level(level)
    structlog.configure(
        processors=[
            _threshold,
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
