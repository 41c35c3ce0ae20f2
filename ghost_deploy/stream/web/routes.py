"""The routes of the web view."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from ghost_deploy.stream.web.guard import AccessGuard, AccessKeys
from ghost_deploy.stream.web.health import Health
from ghost_deploy.stream.web.jpeg_cache import SIDES, JpegCache, Notifier
from ghost_deploy.stream.web.latest_results import LatestResults, SourceTotals
from ghost_deploy.stream.web.metrics import CONTENT_TYPE, render_metrics
from ghost_deploy.stream.web.static import answer_with
from ghost_deploy.stream.web.status import RunStatus

_FILES = ("app.js", "chart.js", "icon.svg", "style.css")
_LONGEST_POLL_S = 5.0
_LEAST_INTERVAL_S = 1 / 15
_LARGEST_FORM = 4096
_BOUNDARY = "frame"


class WebState(NamedTuple):
    """What the routes show.

    Attributes:
        results: the newest of each source.
        news: notified after each result.
        status: returns the state of the run now, given the totals of each source.
        health: returns its health now.
        strict_health: `/healthz` answers 503 if anything is not as it should be.
    """

    results: LatestResults
    news: Notifier
    status: Callable[[Mapping[str, SourceTotals]], RunStatus]
    health: Callable[[], Health]
    strict_health: bool = False


def make_app(state: WebState, keys: AccessKeys, served: str) -> Starlette:
    """The application.

    Args:
        state: what it shows.
        keys: checks access.
        served: the host that the server was configured with.
    """
    routes = _Routes(state, keys)
    return Starlette(
        routes=[
            Route("/", _file("index.html")),
            *(Route(f"/{name}", _file(name)) for name in _FILES),
            Route("/login", routes.login, methods=["POST"]),
            Route("/api/status", routes.status),
            Route("/api/history", routes.history),
            Route("/api/images", routes.images),
            Route("/stream/{source:path}", routes.stream),
            Route("/metrics", routes.metrics),
            Route("/healthz", routes.healthz),
            Route("/readyz", routes.readyz),
            Route("/livez", routes.livez),
        ],
        middleware=[Middleware(AccessGuard, keys=keys, served=served)],
    )


class _Routes:
    def __init__(self, state: WebState, keys: AccessKeys) -> None:
        self._results, self._news, self._status, self._health, self._strict = state
        self._keys = keys
        self._images = JpegCache()

    async def status(self, _: Request) -> Response:
        """The `RunStatus` document."""
        return _json(self._status(self._results.totals()))

    async def history(self, _: Request) -> Response:
        """The last minutes of each source, by the second."""
        return _json(self._results.histories())

    async def images(self, request: Request) -> Response:
        """The newest image of each source that has one after `?after=SERIAL`, in one body.

        Waits some seconds for one. A viewer has only one answer under way at any time, so that a
        slow one gets fewer images, not older ones. The body is a line of JSON,
        `{"serial": ..., "images": [{"id", "serial", "bytes"}, ...]}`, then the JPEG files.
        """
        after, side = _number(request, "after", 0), _number(request, "side", SIDES[1])
        if after is None or side not in SIDES:
            return PlainTextResponse("after and side are numbers.\n", 400)
        with self._news.listen() as event, contextlib.suppress(asyncio.TimeoutError):
            while not self._news.is_closed:
                event.clear()
                newer = self._results.newer_than(after)
                if newer:
                    jpegs = [await self._images.jpeg(latest, side) for latest in newer]
                    head = {
                        "serial": newer[-1].serial,
                        "images": [
                            {"id": x.result.source, "serial": x.serial, "bytes": len(jpeg)}
                            for x, jpeg in zip(newer, jpegs, strict=True)
                        ],
                    }
                    body = b"".join((json.dumps(head).encode(), b"\n", *jpegs))
                    return Response(body, media_type="application/octet-stream")
                await asyncio.wait_for(event.wait(), _LONGEST_POLL_S)
        return Response(status_code=204)

    async def stream(self, request: Request) -> Response:
        """Motion JPEG of one source, for other programs."""
        source = request.path_params["source"].removesuffix(".mjpg")
        if self._results.newest(source) is None:
            return PlainTextResponse("No such source, or no result yet.\n", 404)
        return StreamingResponse(
            self._parts(source), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        )

    async def _parts(self, source: str) -> AsyncIterator[bytes]:
        serial = 0
        with self._news.listen() as event:
            while not self._news.is_closed:
                event.clear()
                latest = self._results.newest(source, serial)
                if latest is None:
                    await event.wait()
                    continue
                serial = latest.serial
                jpeg = await self._images.jpeg(latest, SIDES[-1])
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                yield b"".join((head.encode(), b"\r\n\r\n", jpeg, b"\r\n"))
                await asyncio.sleep(_LEAST_INTERVAL_S)

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        totals = self._results.totals()
        return Response(render_metrics(self._status(totals), totals), media_type=CONTENT_TYPE)

    async def healthz(self, _: Request) -> Response:
        """The `Health` document; 503 when nothing works, see `Health.status`; for alerts."""
        health = self._health()
        return _json(health, health.status(strict=self._strict))

    async def readyz(self, _: Request) -> Response:
        """200 if a source delivers and the model has given a result, else 503; for a balancer."""
        health = self._health()
        ready = health.works and bool(self._results.totals())
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def livez(self, _: Request) -> Response:
        """200 while the process answers; for a supervisor."""
        return PlainTextResponse("ok\n")

    async def login(self, request: Request) -> Response:
        """Exchange the token for a cookie."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                return PlainTextResponse("Too long.\n", 413)
        tokens = parse_qs(body.decode("ascii", "replace")).get("token", [""])
        if not self._keys.fits(tokens[0].strip()):
            return RedirectResponse("/#wrong", 303)
        response = RedirectResponse("/", 303)
        self._keys.remember(response)
        return response


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    # A coroutine, because Starlette would start a thread for a plain function.
    async def answer(_: Request) -> Response:
        return answer_with(name)

    return answer


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


def _number(request: Request, name: str, default: int) -> int | None:
    text = request.query_params.get(name, str(default))
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
