"""uvicorn, configured to run inside another program."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ghost_deploy.stream.web.connection_limits import (
    LimitedProtocol,
    MinuteNotes,
    RequestLimit,
    WaitingConnections,
    WebLimits,
)

_GRACE_S = 1
_QUEUE = 128


class Server(uvicorn.Server):
    """Aborts connections that are no longer read when it stops.

    Args:
        config: of uvicorn.
        notes: told of what the event loop cannot do, e.g. accept a connection.
    """

    def __init__(self, config: uvicorn.Config, notes: MinuteNotes) -> None:
        super().__init__(config)
        self._notes = notes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does; asyncio would print a traceback for each failed accept."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await super().startup(sockets)
        # asyncio takes one number for what it accepts in one go and for the system's queue.
        for listener in sockets or ():
            listener.listen(_QUEUE)

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        cause = context.get("exception")
        self._notes.add(f"{context['message']}{f' ({cause})' if cause else ''}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, then abort the remaining connections."""
        # Answers that are cancelled by the shutdown are no errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()


def make_server(app: ASGIApp, note: Callable[[str], None], limits: WebLimits) -> Server:
    """Make a server that logs only its own failures: no paths or tokens.

    Args:
        app: the application.
        note: takes a sentence about connections that were closed, at most once a minute.
        limits: of connections and requests.
    """
    notes = MinuteNotes(note)
    protocol: Any = functools.partial(LimitedProtocol, WaitingConnections(limits, notes))
    return Server(
        uvicorn.Config(
            RequestLimit(app, limits.requests),
            http=protocol,
            # asyncio accepts this many at a time; each costs a descriptor before it can be closed.
            backlog=limits.backlog,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_S,
        ),
        notes,
    )
