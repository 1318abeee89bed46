"""Errors carry what is needed to mend them."""

from __future__ import annotations

from mycelium.core import errors
from mycelium.core.errors import ConfigError, MyceliumError, Problem, QueueFullError, WireError


def test_every_error_has_the_one_base() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 8
    assert all(issubclass(kind, MyceliumError) for kind in kinds)


def test_a_problem_says_file_key_value_and_what_would_be_right() -> None:
    problem = Problem("config/a.toml", "deployment.mode", "should be 'monolith'", "mono")
    assert str(problem) == "config/a.toml: deployment.mode = 'mono': should be 'monolith'"
    assert str(Problem("a.toml", "", "cannot be read")) == "a.toml: cannot be read"


def test_a_config_error_shows_every_problem() -> None:
    error = ConfigError(Problem("f", key, "wrong") for key in "ab")
    assert str(error).splitlines() == ["f: a: wrong", "f: b: wrong"]


def test_messages_are_built_from_fields() -> None:
    assert str(WireError("bad", 7)) == "at byte 7: bad"
    error = QueueFullError("s", 4, 2)
    assert (error.capacity, error.missing) == (4, 2)
    assert "queue of 4: 2 message(s) are missing" in str(error)
