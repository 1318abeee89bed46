"""Who gets what over HTTP, request by request, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from mycelium.observe.http_guard import (
    COOKIE,
    LOGIN,
    MAX_ADDRESSES,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_WRONG,
    SECURITY_HEADERS,
    SESSION_NS,
    WRONG_NS,
    Guard,
)

TOKEN = "the-right-token-of-this-system-0123456789"
WRONG = "a-wrong-token-that-must-not-be-logged-987"
HOST = "10.1.2.3:8080"


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.headers)


class Time:
    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        return self.ns


async def data(request: Request) -> Response:
    return JSONResponse({"data": (await request.body()).decode()})


async def fast(_request: Request) -> Response:
    return Response("x", headers={"cache-control": "max-age=60", "x-frame-options": "ALLOW"})


def broken(_request: Request) -> Response:
    raise RuntimeError("with details")


APP = Starlette(
    routes=[
        Route("/open", data),
        Route("/data", data, methods=["GET", "POST"]),
        Route("/static", fast),
        Route("/broken", broken),
    ]
)


def guard_with(token: str | None = TOKEN, *, loopback: bool = False, time_ns: Callable[[], int] | None = None) -> Guard:
    return Guard(APP, token=token, public={"/open"}, loopback=loopback, time_ns=time_ns or Time())


async def ask(
    guard: Guard,
    path: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    host: str | None = HOST,
    body: Iterable[bytes] = (b"",),
    client: str = "10.9.9.9",
    query: bytes = b"",
) -> Answer:
    answer = Answer()
    parts = list(body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not answer.status, "two answers"
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        else:
            answer.body += message.get("body", b"")

    all_headers = [*([("host", host)] if host is not None else []), *headers]
    await guard(
        {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in all_headers],
            "client": (client, 50_000),
            "server": ("10.1.2.3", 8080),
            "http_version": "1.1",
        },
        receive,
        send,
    )
    return answer


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def log_in(guard: Guard, token: str, **others: Any) -> Answer:
    form = [f"token={token}".encode()]
    return await ask(guard, LOGIN, method="POST", headers=[("origin", f"http://{HOST}")], body=form, **others)


def cookie_of(answer: Answer) -> str:
    return answer["set-cookie"].partition(";")[0]


# --- beyond loopback, with a token -----------------------------------------------------------


async def test_a_public_path_needs_no_token() -> None:
    assert (await ask(guard_with(), "/open")).status == 200


@pytest.mark.parametrize("path", ["/data", "/static", "/nothing", "/open/", "/open/../data", "//open", "/"])
async def test_everything_else_needs_one(path: str) -> None:
    guard = guard_with()
    answer = await ask(guard, path)
    assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
    assert json.loads(answer.body) == {"error": "no token"}
    assert guard.refused.counts == {"no token": 1}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_opens(scheme: str) -> None:
    answer = await ask(guard_with(), "/data", headers=[("authorization", f"{scheme} {TOKEN}")])
    assert answer.status == 200


@pytest.mark.parametrize(
    "shown", [WRONG, TOKEN[:-1], TOKEN + "x", "", TOKEN.upper(), "ü" * 40, f"{TOKEN} {TOKEN}"], ids=str
)
async def test_a_wrong_token_opens_nothing(shown: str) -> None:
    guard = guard_with()
    answer = await ask(guard, "/data", headers=bearer(shown))
    assert (answer.status, answer["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert guard.refused.counts == {"wrong token": 1}


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", TOKEN)],
        [*bearer(TOKEN), *bearer(WRONG)],
        [("cookie", f"{COOKIE}={TOKEN}")],
        [("cookie", f"{COOKIE}=99999999999999999999.00")],
        [("cookie", f"{COOKIE}=x; =; {COOKIE}")],
        [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1")],
    ],
    ids=str,
)
async def test_what_is_no_token(headers: list[tuple[str, str]]) -> None:
    assert (await ask(guard_with(), "/data", headers=headers)).status == 401


async def test_a_token_in_the_address_is_none_and_is_not_logged() -> None:
    with capture_logs() as said:
        answer = await ask(guard_with(), "/data", query=f"token={TOKEN}".encode())
    assert answer.status == 401
    assert TOKEN not in str(said)


async def test_a_wrong_token_is_logged_with_who_sent_it_and_without_what_it_was() -> None:
    guard = guard_with()
    with capture_logs() as said:
        for _ in range(5):
            await ask(guard, "/data", headers=bearer(WRONG))
            await log_in(guard, WRONG)
    assert [(line["event"], line["peer"], line["log_level"]) for line in said] == [
        ("wrong token", "10.9.9.9", "warning")
    ]
    assert WRONG not in str(said)


async def test_who_shows_too_many_wrong_tokens_has_to_wait_and_others_have_not() -> None:
    time = Time()
    guard = guard_with(time_ns=time)
    for _ in range(MAX_WRONG):
        assert (await ask(guard, "/data", headers=bearer(WRONG))).status == 401
    for shown in (WRONG, TOKEN):
        answer = await ask(guard, "/data", headers=bearer(shown))
        assert (answer.status, answer["retry-after"]) == (429, "60")
        assert (await log_in(guard, shown)).status == 429
    assert (await ask(guard, "/open")).status == 200
    assert (await ask(guard, "/data", headers=bearer(TOKEN), client="10.9.9.8")).status == 200
    time.ns += WRONG_NS
    assert (await ask(guard, "/data", headers=bearer(TOKEN))).status == 200
    assert guard.refused.counts == {"wrong token": MAX_WRONG, "too many wrong tokens": 4}
    for _ in range(MAX_WRONG):
        assert (await ask(guard, "/data", headers=bearer(WRONG))).status == 401
    assert (await ask(guard, "/data", headers=bearer(WRONG))).status == 429


async def test_wrong_tokens_now_and_then_add_up_to_nothing() -> None:
    time = Time()
    guard = guard_with(time_ns=time)
    for _ in range(3 * MAX_WRONG):
        assert (await ask(guard, "/data", headers=bearer(WRONG))).status == 401
        time.ns += WRONG_NS // (MAX_WRONG - 1)


async def test_a_network_of_ipv6_is_one_address_and_the_memory_has_an_end() -> None:
    guard = guard_with()
    for number in range(MAX_WRONG):
        await ask(guard, "/data", headers=bearer(WRONG), client=f"2001:db8::{number:x}")
    assert (await ask(guard, "/data", headers=bearer(WRONG), client="2001:db8::ffff")).status == 429
    assert (await ask(guard, "/data", headers=bearer(TOKEN), client="2001:db8:0:1::1")).status == 200
    for number in range(MAX_ADDRESSES + 10):
        await ask(guard, "/data", headers=bearer(WRONG), client=f"10.0.{number >> 8}.{number & 255}")
    assert len(guard._wrong._since) == MAX_ADDRESSES


# --- browsers --------------------------------------------------------------------------------


async def test_a_browser_is_asked_for_the_token_and_then_has_a_cookie_that_is_not_the_token() -> None:
    guard = guard_with()
    asked = await ask(guard, "/data", headers=[("accept", "text/html,*/*")])
    assert (asked.status, asked["www-authenticate"]) == (401, "Bearer")
    assert b'<form method="post" action="/login">' in asked.body
    assert (await ask(guard, LOGIN)).status == 200
    entered = await log_in(guard, TOKEN)
    assert (entered.status, entered["location"]) == (303, "/")
    attributes = entered["set-cookie"].lower()
    assert all(word in attributes for word in ("httponly", "samesite=strict", "path=/", "max-age=43200"))
    assert TOKEN not in entered["set-cookie"]
    assert (await ask(guard, "/data", headers=[("cookie", f"a=b; {cookie_of(entered)}; c=d")])).status == 200


async def test_a_wrong_token_in_the_form() -> None:
    guard = guard_with()
    answer = await log_in(guard, WRONG)
    assert (answer.status, "set-cookie" in answer) == (401, False)
    assert b"not the token" in answer.body
    assert guard.refused.counts == {"wrong token": 1}
    for body in (b"", b"\xff\xfe", b"token", b"x=y", b"&".join([b"a=b"] * 11)):
        assert (await ask(guard, LOGIN, method="POST", body=[body])).status == 401


async def test_a_session_ends_and_cannot_be_made_longer() -> None:
    time = Time()
    guard = guard_with(time_ns=time)
    cookie = cookie_of(await log_in(guard, TOKEN))
    time.ns += SESSION_NS - 1
    assert (await ask(guard, "/data", headers=[("cookie", cookie)])).status == 200
    expires, _, signature = cookie.partition("=")[2].partition(".")
    longer = f"{COOKIE}={int(expires) + 1}.{signature}"
    assert (await ask(guard, "/data", headers=[("cookie", longer)])).status == 401
    time.ns += 1
    assert (await ask(guard, "/data", headers=[("cookie", cookie)])).status == 401


async def test_another_token_ends_all_sessions() -> None:
    cookie = cookie_of(await log_in(guard_with(), TOKEN))
    assert (await ask(guard_with(), "/data", headers=[("cookie", cookie)])).status == 200
    assert (await ask(guard_with(TOKEN[::-1]), "/data", headers=[("cookie", cookie)])).status == 401


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://10.1.2.3", f"http://{HOST}.evil.example"]
)
async def test_another_site_changes_nothing(origin: str) -> None:
    guard = guard_with()
    cookie = cookie_of(await log_in(guard, TOKEN))
    answer = await ask(guard, "/data", method="POST", headers=[("cookie", cookie), ("origin", origin)])
    assert (answer.status, json.loads(answer.body)) == (403, {"error": "sent by another site"})
    assert (await ask(guard, "/data", method="POST", headers=[("cookie", cookie)])).status == 200


# --- without a token -------------------------------------------------------------------------


async def test_beyond_loopback_without_a_token_only_what_is_public() -> None:
    guard = guard_with(None)
    assert (await ask(guard, "/open")).status == 200
    for path in ("/data", LOGIN, "/"):
        answer = await ask(guard, path, headers=bearer(TOKEN))
        assert answer.status == 403
        assert b"http.token_file" in answer.body


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8080", None]
)
async def test_on_loopback_without_a_token_this_host_has_everything(host: str | None) -> None:
    guard = guard_with(None, loopback=True)
    assert (await ask(guard, "/data", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "10.1.2.3",
        "0.0.0.0",
        "[::]",
        "[::ffff:10.1.2.3]",
        "127.1",
        "localhost:80:80",
        "localhost:x",
        "localhost, evil.example",
        "",
    ],
)
async def test_a_foreign_host_header_is_refused_there_also_for_what_is_public(host: str) -> None:
    guard = guard_with(None, loopback=True)
    for path in ("/open", "/data"):
        assert (await ask(guard, path, host=host)).status == 421
    assert guard.refused.counts == {"foreign host header": 2}


async def test_two_host_headers_are_refused_there() -> None:
    guard = guard_with(None, loopback=True)
    assert (await ask(guard, "/data", host="localhost", headers=[("host", "evil.example")])).status == 421


async def test_on_loopback_with_a_token_it_is_needed() -> None:
    guard = guard_with(loopback=True)
    assert (await ask(guard, "/data", host="localhost")).status == 401
    assert (await ask(guard, "/data", host="proxied.example", headers=bearer(TOKEN))).status == 200


# --- sizes and headers -----------------------------------------------------------------------


async def test_headers_have_a_limit() -> None:
    answer = await ask(guard_with(), "/open", headers=[("x", "y" * MAX_HEADER_BYTES)])
    assert answer.status == 431
    many = [(f"x{number}", "y" * 100) for number in range(MAX_HEADER_BYTES // 100)]
    assert (await ask(guard_with(), "/open", headers=many)).status == 431


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 30, "-1", "x"])
async def test_a_body_that_says_that_it_is_too_long(length: str) -> None:
    assert (await ask(guard_with(), "/open", headers=[("content-length", length)])).status == 413


@pytest.mark.parametrize("path", ["/data", LOGIN])
async def test_a_body_that_does_not_say_how_long_it_is(path: str) -> None:
    guard = guard_with()
    half = b"x" * (MAX_BODY_BYTES // 2)
    headers = bearer(TOKEN) if path == "/data" else []
    assert (await ask(guard, path, method="POST", headers=headers, body=[half, half])).status in (200, 401)
    assert (await ask(guard, path, method="POST", headers=headers, body=[half, half, b"x"])).status == 413


@pytest.mark.parametrize(
    ("path", "status"),
    [("/open", 200), ("/data", 401), ("/nothing", 401), (LOGIN, 200), ("/data", 413), ("/data", 403)],
)
async def test_every_answer_has_the_headers(path: str, status: int) -> None:
    headers = {413: [("content-length", "99999")], 403: [("origin", "http://evil")]}.get(status, [])
    answer = await ask(guard_with(), path, headers=headers, method="POST" if status == 403 else "GET")
    assert answer.status == status
    assert {name: answer[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer["cache-control"] == "no-store"
    assert "server" not in answer


async def test_a_route_may_be_kept_by_browsers_and_may_not_be_framed() -> None:
    answer = await ask(guard_with(), "/static", headers=bearer(TOKEN))
    assert (answer["cache-control"], answer["x-frame-options"]) == ("max-age=60", "DENY")
    assert len(answer.headers) == len(dict(answer.headers))


async def test_a_failure_tells_no_details() -> None:
    guard, answer = guard_with(), None
    with pytest.raises(RuntimeError, match="with details"):
        answer = await ask(guard, "/broken", headers=bearer(TOKEN))
    assert answer is None


async def test_it_answers_http_and_nothing_else() -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(RuntimeError, match="nothing here answers 'websocket'"):
        await guard_with()({"type": "websocket"}, never, never)
