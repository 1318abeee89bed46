"""Log lines for machines and for people."""

from __future__ import annotations

import contextlib
import io
import json

import structlog

from mycelium.observe.logs import MOST, WINDOW_SECONDS, LogFormat, Repeats, configure_logging


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


def test_what_is_said_again_and_again_is_left_out_and_counted() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)

    def say(event: str = "refused", **values: object) -> dict[str, object] | None:
        try:
            return dict(repeats(None, "warning", {"event": event, **values}))
        except structlog.DropEvent:
            return None

    shown = [say(service="a", number=number) for number in range(MOST + 30)]
    assert [line["number"] for line in shown if line is not None] == list(range(MOST))
    assert say(service="b") == {"event": "refused", "service": "b"}, "of another service it is another line"
    assert say("accepted", service="a") is not None
    assert repeats.left_out() == 30
    now = WINDOW_SECONDS - 0.01
    assert say(service="a") is None
    now = WINDOW_SECONDS
    assert say(service="a") == {"event": "refused", "service": "a", "left_out": 31}
    assert say(service="a") == {"event": "refused", "service": "a"}
    assert repeats.left_out() == 0


def test_ever_new_lines_are_all_shown_and_take_no_memory_for_ever() -> None:
    repeats = Repeats(lambda: 0.0)
    for _ in range(MOST + 5):
        with contextlib.suppress(structlog.DropEvent):
            repeats(None, "warning", {"event": "same"})
    for number in range(5_000):
        assert repeats(None, "error", {"event": f"line {number}"}) == {"event": f"line {number}"}
    assert len(repeats._windows) <= 1_000
    assert repeats.left_out() == 5, "what was left out is still known"


def test_what_tells_of_progress_is_shown_as_it_comes() -> None:
    repeats = Repeats(lambda: 0.0)
    for number in range(5 * MOST):
        assert repeats(None, "debug", {"event": "published", "block": number}) is not None
        assert repeats(None, "info", {"event": "published", "block": number}) is not None
    assert repeats.left_out() == 0
