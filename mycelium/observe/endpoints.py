"""What a process serves over HTTP to those who watch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

LIVE = "/livez"
READY = "/readyz"
METRICS = "/metrics"
PUBLIC = frozenset({LIVE, READY})
"""Paths that name no data: whoever starts and stops processes may ask for them without a token."""


def application(
    unready: Callable[[], Mapping[str, str]], metrics: Callable[[str], tuple[bytes, str]] | None = None
) -> Starlette:
    """The application, to be put behind a guard.

    Args:
        unready: what of this process is not ready, each with its state; empty when all is.
        metrics: the figures of this process in the form that an ``Accept`` header asks for, and the form's name;
            None if it shows none.
    """

    async def live(_request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(_request: Request) -> Response:
        # States and no reasons: what an error says is in the log, and may not be for everyone.
        waiting = unready()
        return JSONResponse({"ready": not waiting, "not_ready": dict(waiting)}, 503 if waiting else 200)

    routes: list[BaseRoute] = [Route(LIVE, live), Route(READY, ready)]
    if metrics is not None:

        async def measured(request: Request) -> Response:
            body, form = metrics(request.headers.get("accept", ""))
            return Response(body, headers={"content-type": form})

        routes.append(Route(METRICS, measured))

    return application_of(routes)


def application_of(routes: Sequence[BaseRoute]) -> Starlette:
    """An application that says nothing of itself when something is wrong.

    Args:
        routes: what it answers.
    """
    made = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed})
    # It would answer /livez/ with an address that it takes from the request.
    made.router.redirect_slashes = False
    return made


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail.lower()}, error.status_code, headers=error.headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    # What it was goes to the log: Starlette raises it again, and the server logs it.
    return JSONResponse({"error": "internal error"}, 500)
