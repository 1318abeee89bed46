"""Log lines for machines and for people."""

from __future__ import annotations

import io
import json

import structlog

from mycelium.observe.logs import LogFormat, configure_logging


def test_json_lines_carry_level_time_and_values() -> None:
    out = io.StringIO()
    configure_logging(level="info", form=LogFormat.JSON, stream=out)
    log = structlog.get_logger("x").bind(service="a")
    log.debug("hidden")
    log.info("seen", number=3)
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["service"], entry["number"]) == ("seen", "info", "a", 3)
    assert entry["timestamp"].endswith("Z")


def test_a_traceback_shows_no_local_variables() -> None:
    for form in LogFormat:
        out = io.StringIO()
        configure_logging(form=form, stream=out)
        try:
            secret = "hunter2" * 3
            raise RuntimeError("boom" + secret[:0])
        except RuntimeError:
            structlog.get_logger("x").exception("failed")
        assert "boom" in out.getvalue()
        assert "hunter2hunter2" not in out.getvalue(), form
