"""The pages of the dashboard: what is asked for at which path. Who may ask is the guard's to say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapters.dashboard.picture import Picture
from adapters.dashboard.stream import events
from mycelium.observe.endpoints import application_of

MAX_CLIENTS = 16
"""Browsers that are told what changes at the same time. Chosen by us; the server has connections left for the rest."""
RETRY_SECONDS = 5

_PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Args:
        body: what is in it.
        kind: its media type.
        etag: changes with it.
    """

    body: bytes
    kind: str
    etag: str


def page_files() -> dict[str, PageFile]:
    """The files of the page, by their path on the server."""
    found = {}
    for path in sorted(_PAGE.iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            name = "" if path.name == "index.html" else path.name
            found[f"/{name}"] = PageFile(body, _TYPES[path.suffix], etag)
    return found


class Clients:
    """The browsers that are being told what changes.

    Args:
        picture: what there is to know.
        time_ns: the time.
    """

    def __init__(self, picture: Picture, time_ns: Callable[[], int]) -> None:
        self._picture = picture
        self._time_ns = time_ns
        self._closing = asyncio.Event()
        self.number: int = 0
        """How many there are."""
        self.refused: int = 0
        """How many were one too many."""

    def close(self) -> None:
        """Let all answers end."""
        self._closing.set()

    def answer(self, request: Request) -> Response:
        """The answer to a browser that wants to be told."""
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        if request.method == "HEAD":
            return Response(headers=headers)
        if self.number >= MAX_CLIENTS:
            self.refused += 1
            error = {"error": f"{MAX_CLIENTS} are watching already"}
            return JSONResponse(error, 503, headers={"retry-after": str(RETRY_SECONDS)})
        return _Told(self, headers)

    async def tell(self, answer: StreamingResponse, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell one, for as long as it listens."""
        self.number += 1
        try:
            async with aclosing(events(self._picture, self._time_ns, self._closing)) as told:  # type: ignore[type-var]
                answer.body_iterator = told
                await StreamingResponse.__call__(answer, scope, receive, send)
        finally:
            self.number -= 1


class _Told(StreamingResponse):
    """An answer that goes on. What it says begins when it is sent, and ends with the connection."""

    def __init__(self, clients: Clients, headers: Mapping[str, str]) -> None:
        super().__init__((), headers=headers)
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._clients.tell(self, scope, receive, send)


def application(
    files: Mapping[str, PageFile], picture: Picture, clients: Clients, time_ns: Callable[[], int]
) -> Starlette:
    """The application, to be put behind a guard.

    Args:
        files: of the page.
        picture: what is shown.
        clients: who is told what changes.
        time_ns: the time.
    """

    async def page(request: Request) -> Response:
        file = files[request.url.path]
        headers = {"cache-control": "no-cache", "etag": file.etag}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers={**headers, "content-type": file.kind})

    async def state(_request: Request) -> Response:
        return Response(msgspec.json.encode(picture.whole(time_ns())), media_type="application/json")

    async def told(request: Request) -> Response:
        return clients.answer(request)

    return application_of([*(Route(path, page) for path in files), Route("/state", state), Route("/events", told)])
