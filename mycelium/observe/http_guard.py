"""Stands before everything that a process serves over HTTP, and decides who gets what.

Theory of operation. Public paths are for everyone: health and the like, which name no data. What else there is depends
on who can reach it. Without a token, only those on this host can have it, and a browser on this host only for pages of
this host: a name that an attacker lets point to 127.0.0.1 (DNS rebinding) shows in the ``Host`` header. With a token,
it must be shown, by a program as ``Authorization: Bearer`` and by a browser once, in a form. The browser is given a
cookie, which is signed with the token and is not the token: cookies of one port are sent to all ports of a host.

Every answer, also of what it stands before, gets headers that leave a browser no way to do more than show it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mycelium.core.ledger import Tally
from mycelium.observe.figures import Figures
from mycelium.topology.hosts import is_loopback
from mycelium.transport.complaints import Complaints

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not no-referrer: browsers then send "Origin: null" with our own forms too.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
NO_STORE = "no-store"

LOGIN = "/login"
COOKIE = "mycelium_session"
SESSION_NS = 12 * 3600 * 1_000_000_000
"""How long a browser that has shown the token need not show it again. Chosen by us: a working day."""

MAX_HEADER_BYTES = 16 << 10
"""Of all headers of a request. nginx takes 8 KiB for one and 32 KiB for all, Node.js 16 KiB for all."""
MAX_BODY_BYTES = 16 << 10
"""Chosen by us: what comes in is a token, or little more."""

MAX_WRONG = 10
"""Wrong tokens that an address may send in :data:`WRONG_NS`. Chosen by us: typing goes wrong less often."""
WRONG_NS = 60 * 1_000_000_000
MAX_ADDRESSES = 1_000
"""Whose wrong tokens are remembered; beyond, the one who began first is forgotten."""

_TOO_LARGE = "body too large"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]+)?", re.IGNORECASE)

# Without style: the policy above allows none in a page.
_FORM = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Mycelium</title></head>
<body>
<form method="post" action="{LOGIN}">
<p>NOTE</p>
<p><label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Show</button></p>
</form>
</body>
</html>
"""


class Guard:
    """The ASGI application that stands before another one.

    Args:
        app: what it stands before. What its routes do not allow is refused by them, such as POST.
        token: what shows who may see everything; None if there is none.
        public: paths that everyone may have.
        loopback: whether the server can be reached from this host only.
        time_ns: the time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        public: Collection[str],
        loopback: bool,
        time_ns: Callable[[], int],
    ) -> None:
        self._app = app
        self._token = token
        self._public = frozenset(public)
        self._loopback = loopback
        self._time_ns = time_ns
        self._wrong = _WrongTokens(time_ns)
        self._complaints = Complaints(time_ns)
        self.refused: Tally = Tally()
        """Requests by cause."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            raise RuntimeError(f"nothing here answers {scope['type']!r}")

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", NO_STORE)
            await send(message)

        request = Request(scope, _limited(receive))
        try:
            try:
                answer = self._refusal(request) or await self._answer(request)
            except HTTPException as error:
                answer = self._refuse(request, error.status_code, error.detail)
            await (answer or self._app)(scope, request.receive, send_safely)
        except ClientDisconnect:
            self.refused.add("gone before its request was there")

    # --- what is wrong with any request ------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that nobody may make."""
        headers = request.headers
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            return self._refuse(request, 431, "headers too large")
        if self._loopback and self._token is None and not _names_this_host(headers.getlist("host")):
            return self._refuse(request, 421, "foreign host header")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return self._refuse(request, 413, _TOO_LARGE)
        if request.method not in ("GET", "HEAD") and not _is_from_here(headers):
            return self._refuse(request, 403, "sent by another site")
        return None

    def _refuse(self, request: Request, status: int, cause: str, **headers: str) -> Response:
        self.refused.add(cause)
        # Neither what was asked for nor how: a token may stand in it.
        self._complaints.say(_address_of(request), cause, status=status)
        return JSONResponse(
            {"error": cause}, status, headers={name.replace("_", "-"): headers[name] for name in headers}
        )

    # --- who may see what --------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response | None:
        """The answer to who may not see what is asked for, or who wants to be let in; None for all others."""
        path, token = request.url.path, self._token
        if path in self._public:
            return None
        if token is None:
            return None if self._loopback else self._refuse(request, 403, "no http.token_file, so this is not served")
        if path == LOGIN:
            return await self._log_in(request, token)
        shown = _bearer(request.headers)
        if shown is not None:
            return self._judge(request, shown, token)
        if self._has_session(request, token):
            return None
        return self._ask_for_token(request)

    def _ask_for_token(self, request: Request) -> Response:
        refusal = self._refuse(request, 401, "no token", www_authenticate="Bearer")
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return _form("This page needs the token of this system.", 401, refusal.headers["www-authenticate"])
        return refusal

    def _judge(self, request: Request, shown: str, token: str) -> Response | None:
        """The answer to a token that is wrong, or to anyone who has shown too many of them."""
        address = _address_of(request)
        wait_ns = self._wrong.wait_ns(address)
        if wait_ns > 0:
            return self._refuse(request, 429, "too many wrong tokens", retry_after=str(-(-wait_ns // 1_000_000_000)))
        if _same(shown, token):
            return None
        self._wrong.add(address)
        return self._refuse(request, 401, "wrong token", www_authenticate='Bearer error="invalid_token"')

    async def _log_in(self, request: Request, token: str) -> Response:
        if request.method in ("GET", "HEAD"):
            return _form("This system shows its pages to those who have its token.", 200)
        if request.method != "POST":
            return self._refuse(request, 405, "method not allowed", allow="GET, HEAD, POST")
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        refusal = self._judge(request, fields.get("token", [""])[-1].strip(), token)
        if refusal is not None:
            if refusal.status_code == 401:
                return _form("That was not the token.", 401, refusal.headers["www-authenticate"])
            return refusal
        answer = RedirectResponse("/", 303)
        expires = self._time_ns() + SESSION_NS
        # Not marked secure: this server speaks HTTP, and what stands before it and speaks HTTPS can add that.
        answer.set_cookie(
            COOKIE,
            f"{expires}.{_signature(expires, token)}",
            max_age=SESSION_NS // 1_000_000_000,
            httponly=True,
            samesite="strict",
        )
        return answer

    def _has_session(self, request: Request, token: str) -> bool:
        try:
            found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        expires, _, signature = found.value.partition(".") if found is not None else ("", "", "")
        if not re.fullmatch(r"[0-9]{1,20}", expires):
            return False
        return _same(signature, _signature(int(expires), token)) and self._time_ns() < int(expires)


class _WrongTokens:
    """Who has shown wrong tokens lately, and how many."""

    def __init__(self, time_ns: Callable[[], int]) -> None:
        self._time_ns = time_ns
        self._since: dict[str, tuple[int, int]] = {}

    def wait_ns(self, address: str) -> int:
        """How long the address must wait until it may show another one."""
        since, number = self._since.get(address, (0, 0))
        return since + WRONG_NS - self._time_ns() if number >= MAX_WRONG else 0

    def add(self, address: str) -> None:
        """Count one."""
        now = self._time_ns()
        since, number = self._since.pop(address, (now, 0))
        if now - since >= WRONG_NS:
            since, number = now, 0
        if len(self._since) >= MAX_ADDRESSES:
            del self._since[next(iter(self._since))]
        self._since[address] = (since, number + 1)


def _limited(receive: Receive) -> Receive:
    """What gives a request's body, up to its limit: one that comes in chunks does not say before how long it is."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return receive_limited


def tell_refused(figures: Figures, refused: Mapping[str, int]) -> None:
    """Add what was refused to the figures of a process."""
    family = figures.counter("mycelium_http_refused", "Requests over HTTP that were refused.", "cause")
    for cause, number in refused.items():
        family.add(number, cause)


def _names_this_host(hosts: list[str]) -> bool:
    """Whether a ``Host`` header is of loopback. Programs may leave it out (HTTP/1.0); browsers never do."""
    if not hosts:
        return True
    found = _HOST.fullmatch(hosts[0])
    return len(hosts) == 1 and found is not None and is_loopback(found[1].strip("[]"))


def _is_from_here(headers: Headers) -> bool:
    """Whether a request that may change something comes from a page of ours, or from no page at all."""
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


def _bearer(headers: Headers) -> str | None:
    """The token that a program shows."""
    given = headers.getlist("authorization")
    scheme, _, shown = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return shown.strip() if scheme.lower() == "bearer" else None


def _same(one: str, other: str) -> bool:
    """Whether two secrets are equal; how long it takes does not tell where they differ, nor how long they are."""
    one_digest, other_digest = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (one, other))
    return hmac.compare_digest(one_digest, other_digest)


def _signature(expires: int, token: str) -> str:
    return hmac.new(token.encode(), f"{COOKIE} {expires}".encode(), hashlib.sha256).hexdigest()


def _address_of(request: Request) -> str:
    """Who asks: an address, of IPv6 the network, in which a host has as many as it likes."""
    host = request.client.host if request.client is not None else ""
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return host


def _form(note: str, status: int, challenge: str | None = None) -> Response:
    headers = {"www-authenticate": challenge} if challenge is not None else None
    return HTMLResponse(_FORM.replace("NOTE", note), status, headers=headers)
