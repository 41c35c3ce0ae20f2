"""uvicorn, told how to run inside another program."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

__all__ = ["Server", "make_server"]

_MOST_CONNECTIONS = 64
_GRACE_S = 1


class Server(uvicorn.Server):
    """Cuts off those who have stopped reading, without a word, when it is told to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, and then close what is still connected."""
        # That their answers are cancelled is no error that anybody must see.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()


def make_server(app: ASGIApp) -> Server:
    """A server of `app` that logs its own failures only: no address, no path, no token."""
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
