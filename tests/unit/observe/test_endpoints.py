"""What is served to those who watch a process."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from mycelium.observe.endpoints import LIVE, PUBLIC, READY, application
from mycelium.observe.http_guard import Guard
from tests.unit.observe.test_http_guard import Time, ask


def guarded(unready: Mapping[str, str]) -> Guard:
    return Guard(application(lambda: unready), token=None, public=PUBLIC, loopback=False, time_ns=Time())


async def test_alive() -> None:
    answer = await ask(guarded({"a": "failed"}), LIVE)
    assert (answer.status, json.loads(answer.body)) == (200, {"alive": True})


async def test_ready() -> None:
    answer = await ask(guarded({}), READY)
    assert (answer.status, json.loads(answer.body)) == (200, {"ready": True, "not_ready": {}})


async def test_not_ready_says_what_is_not() -> None:
    answer = await ask(guarded({"a": "starting"}), READY)
    assert (answer.status, json.loads(answer.body)) == (503, {"ready": False, "not_ready": {"a": "starting"}})


@pytest.mark.parametrize("path", [LIVE, READY])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "OPTIONS"])
async def test_they_can_only_be_read(path: str, method: str) -> None:
    answer = await ask(guarded({}), path, method=method)
    assert (answer.status, json.loads(answer.body)) == (405, {"error": "method not allowed"})
    assert set(answer["allow"].split(", ")) == {"GET", "HEAD"}


async def test_nothing_else_is_there() -> None:
    guard = Guard(application(dict), token=None, public=PUBLIC, loopback=True, time_ns=Time())
    for path in ("/", "/nothing", "/livez/", "/login"):
        answer = await ask(guard, path, host="localhost")
        assert (answer.status, json.loads(answer.body)) == (404, {"error": "not found"}), path
        assert "location" not in answer


async def test_a_failure_is_told_without_details() -> None:
    def fails() -> Mapping[str, str]:
        raise RuntimeError("secret")

    bodies: list[bytes] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        bodies.append(message.get("body", b""))

    async def receive() -> dict[str, object]:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": READY, "headers": [], "query_string": b"", "root_path": ""}
    with pytest.raises(RuntimeError, match="secret"):
        await application(fails)(scope, receive, send)
    assert json.loads(b"".join(bodies)) == {"error": "internal error"}
