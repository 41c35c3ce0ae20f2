"""Limits on connections and requests, so that no visitor keeps others out.

A connection that has sent no whole request is *waiting*. It costs its sender nothing, so a hundred
of them must not cost the others anything either: a waiting connection has a deadline, and when
there are too many the oldest is closed for the newest. A visitor who sends a request at once is
therefore always served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_NOTE_INTERVAL_S = 60.0
_SHARE = 0.25


@dataclass(frozen=True)
class WebLimits:
    """The limits of the web view.

    Attributes:
        headers_s: until the headers of a request have arrived whole, from the opening of the
            connection or the end of the last answer.
        body_s: until its body has.
        waiting: connections that have sent no whole request.
        waiting_per_address: the same, of one address.
        requests: under way at once, more than `waiting`; of those beyond only `/livez` is answered.
            A viewer has two or three.
        backlog: connections that are accepted in one go, far below `waiting_per_address`: the
            request of a visitor is read before so many newer ones push it out.
    """

    headers_s: float = 5.0
    body_s: float = 10.0
    waiting: int = 64
    waiting_per_address: int = 56
    requests: int = 96
    backlog: int = 16

    @classmethod
    def within(cls, descriptors: int) -> WebLimits:
        """The limits of a process that may have so many descriptors.

        A quarter is the most that visitors get: the rest stays for cameras and sinks.
        """
        full = cls()
        share = descriptors * _SHARE / (full.waiting + full.requests + full.backlog)
        if share >= 1:
            return full
        few = {
            name: max(2, int(getattr(full, name) * share))
            for name in ("waiting", "waiting_per_address", "requests", "backlog")
        }
        return replace(full, **few)


class MinuteNotes:
    """Passes notes on at most once a minute, with the number of those that were held back.

    Args:
        note: takes a sentence.
        clock: seconds, monotonic.
    """

    def __init__(
        self, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._clock = clock
        self._last_s = float("-inf")
        self._held = 0

    def add(self, sentence: str) -> None:
        """Pass `sentence` on, or count it."""
        now = self._clock()
        if now - self._last_s < _NOTE_INTERVAL_S:
            self._held += 1
            return
        self._last_s = now
        more = f" ({self._held} more in the last minute)" if self._held else ""
        self._held = 0
        self._note(f"web view: {sentence}{more}")


class WaitingConnections:
    """The waiting connections of a server, oldest first.

    Args:
        limits: see `WebLimits`.
        notes: told of each connection that is closed.
    """

    def __init__(self, limits: WebLimits, notes: MinuteNotes) -> None:
        self.limits = limits
        self._notes = notes
        self._waiting: dict[LimitedProtocol, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: LimitedProtocol) -> None:
        """Add the newest one, and close the oldest beyond a limit."""
        address = connection.client[0] if connection.client else ""
        self._waiting[connection] = address
        same = [each for each, place in self._waiting.items() if place == address]
        if len(same) > self.limits.waiting_per_address:
            self.drop(same[0], f"too many connections from {address} wait without a request")
        elif len(self._waiting) > self.limits.waiting:
            oldest = next(iter(self._waiting))
            self.drop(oldest, "too many connections wait without a request")

    def remove(self, connection: LimitedProtocol) -> None:
        """Forget one that has sent a request, or is closed."""
        self._waiting.pop(connection, None)

    def drop(self, connection: LimitedProtocol, reason: str) -> None:
        """Close a connection at once."""
        self.remove(connection)
        self._notes.add(reason)
        connection.transport.abort()


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with deadlines for headers and body.

    Args:
        waiting: of the server.
        options: of `H11Protocol`.
    """

    def __init__(self, waiting: WaitingConnections, **options: Any) -> None:
        super().__init__(**options)
        self._waiting = waiting
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._set_deadline(None)
        self._waiting.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; a deadline is not moved by single bytes, only by a whole part."""
        had_request = self._has_request()
        super().data_received(data)
        if not self._has_request():
            return
        if not self.cycle.more_body:
            self._waiting.remove(self)
            self._set_deadline(None)
        elif not had_request:
            self._set_deadline(self._waiting.limits.body_s)

    def on_response_complete(self) -> None:
        """Wait for the next request of a connection that stays open."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._has_request():
            self._wait()

    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._set_deadline(self._waiting.limits.headers_s)
        self._waiting.add(self)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(
                seconds, self._waiting.drop, self, f"no whole request within {seconds:g} s"
            )


class RequestLimit:
    """Answers 503 where too many requests are under way; `/livez` is answered always.

    Args:
        app: the application behind it.
        most: requests at once.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application."""
        if self._count >= self._most and scope["path"] != "/livez":
            answer = PlainTextResponse("Too many requests.\n", 503, headers={"Retry-After": "1"})
            await answer(scope, receive, send)
            return
        self._count += 1
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return  # it left, or was closed, before its request had arrived whole
        finally:
            self._count -= 1
