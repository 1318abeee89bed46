"""What a JSON-RPC endpoint answers: a result, or one of the ways in which endpoints refuse."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters.polygon.live.headers import Header, parse_header
from adapters.polygon.logs import MalformedLog
from mycelium.core.errors import MyceliumError

_RATE_CODES = {-32005, -32016, -32029}
"""Of "too many requests", as providers use them: EIP-1474's "limit exceeded", and two in use at Polygon's endpoints."""

_REVERTED = 3
"""Of a call that reverts."""

_RANGE = re.compile(
    r"block range|range (is )?too (large|wide)|too many (results|logs|blocks)|response size|query returned more than"
    r"|limited to \d+|exceeds? (the )?(max|limit)|more than \d+ (results|logs)|timed? ?out",
    re.IGNORECASE,
)

_UNKNOWN = re.compile(r"unknown block|block not found|header not found|not found|missing trie node", re.IGNORECASE)


class EndpointError(MyceliumError):
    """An endpoint did not answer as it should.

    Args:
        cause: one of few, for metrics: ``timeout``, ``unreachable``, ``http_status``, ``rate_limited``, ``too_large``,
            ``unknown_block``, ``refused``, ``malformed``.
        reason: what it said, cut.
        wait: how long it wants to be left alone, seconds; 0 if it did not say.
    """

    def __init__(self, cause: str, reason: str, wait: float = 0.0) -> None:
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason
        self.wait = wait

    @property
    def is_passing(self) -> bool:
        """Whether the same question may be answered a moment later."""
        return self.cause not in ("unknown_block", "refused", "too_large")


class Fault(msgspec.Struct):
    """An error object."""

    code: int = 0
    message: str = ""


class _Response(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: Fault | None = None


_decoder = msgspec.json.Decoder(_Response)


def result_of(body: bytes, request_id: int) -> msgspec.Raw:
    """The result in the answer to a request, not decoded yet.

    Args:
        body: all bytes of the answer.
        request_id: of the request.

    Raises:
        EndpointError: it is no answer to it, or says what is wrong.
    """
    try:
        response = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EndpointError("malformed", f"{error}: {_cut(body)}") from None
    if response.error is not None:
        raise fault(response.error.code, response.error.message)
    if response.id != request_id:
        raise EndpointError("malformed", f"answers request {response.id!r}, asked was {request_id}")
    if not bytes(response.result):
        raise EndpointError("malformed", f"holds neither result nor error: {_cut(body)}")
    return response.result


def fault(code: int, message: str) -> EndpointError:
    """What an error object means. The codes are not agreed on, so the text decides where they do not."""
    shown = message[:200]
    if code == _REVERTED or "revert" in message.lower():
        return EndpointError("refused", f"{code}: {shown}")  # whatever it says is the contract's
    if code in _RATE_CODES and not _RANGE.search(message):
        return EndpointError("rate_limited", shown)
    if _RANGE.search(message):
        return EndpointError("too_large", shown)
    if _UNKNOWN.search(message):
        return EndpointError("unknown_block", shown)
    return EndpointError("refused", f"{code}: {shown}")


def http_fault(status: int, retry_after: str | None) -> EndpointError:
    """What an HTTP status other than 200 means.

    Args:
        status: the status.
        retry_after: of the header ``Retry-After``; seconds are understood, dates are not.
    """
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
    if status in (429, 503):
        return EndpointError("rate_limited", f"HTTP status {status}", wait)
    if status == 413:
        return EndpointError("too_large", f"HTTP status {status}")
    return EndpointError("http_status", f"HTTP status {status}", wait)


def decoded(raw: msgspec.Raw) -> Any:
    """A result as JSON values.

    Raises:
        EndpointError: it is no JSON.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EndpointError("malformed", str(error)) from None


def header_in(block: Any) -> Header:
    """The header in a block object that an endpoint has answered, or told of.

    Raises:
        EndpointError: it is none.
    """
    try:
        return parse_header(block)
    except MalformedLog as error:
        raise EndpointError("malformed", error.reason) from None


def _cut(body: bytes) -> str:
    return repr(body[:80])
