"""What endpoints answer, and what is made of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.answers import EndpointError, decoded, fault, http_fault, result_of


def test_a_result_is_handed_over() -> None:
    raw = result_of(b'{"jsonrpc":"2.0","id":7,"result":{"number":"0x1"}}', 7)
    assert decoded(raw) == {"number": "0x1"}


def test_null_is_a_result() -> None:
    assert decoded(result_of(b'{"jsonrpc":"2.0","id":7,"result":null}', 7)) is None


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        (-32005, "daily request count exceeded, request rate limited", "rate_limited"),
        (-32005, "query returned more than 10000 results", "too_large"),
        (-32600, "eth_getLogs is limited to 1000 block range", "too_large"),
        (-32000, "block range is too wide", "too_large"),
        (-32602, "Log response size exceeded", "too_large"),
        (-32000, "unknown block", "unknown_block"),
        (-32001, "header not found", "unknown_block"),
        (-32601, "the method does not exist", "refused"),
    ],
)
def test_what_endpoints_say_of_too_much_is_understood(code: int, message: str, cause: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}).encode()
    with pytest.raises(EndpointError) as caught:
        result_of(body, 1)
    assert caught.value.cause == cause
    assert fault(code, message).reason in str(caught.value)


@pytest.mark.parametrize(
    ("status", "retry_after", "cause", "wait"),
    [
        (429, "3", "rate_limited", 3.0),
        (429, None, "rate_limited", 0.0),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", "rate_limited", 0.0),
        (413, None, "too_large", 0.0),
        (502, None, "http_status", 0.0),
    ],
)
def test_what_a_status_means(status: int, retry_after: str | None, cause: str, wait: float) -> None:
    found = http_fault(status, retry_after)
    assert (found.cause, found.wait) == (cause, wait)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"id":1}', b'{"id":2,"result":1}', b'{"id":1,"error":"no"}', b"\xff", b"[" * 9999],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(EndpointError, match="malformed"):
        result_of(body, 1)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_result_or_an_endpoints_error(body: bytes) -> None:
    try:
        decoded(result_of(body, 1))
    except EndpointError as error:
        assert error.cause
        assert len(str(error)) < 600
