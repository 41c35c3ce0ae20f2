"""uvicorn, configured to run inside another program."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

_MOST_CONNECTIONS = 64
_GRACE_S = 1


class Server(uvicorn.Server):
    """Aborts connections that are no longer read when it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, then abort the remaining connections."""
        # Answers that are cancelled by the shutdown are no errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()


def make_server(app: ASGIApp) -> Server:
    """Make a server that logs only its own failures: no addresses, paths or tokens."""
    return Server(
        uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
