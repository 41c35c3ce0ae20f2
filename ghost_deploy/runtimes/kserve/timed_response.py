"""An HTTP answer that must be complete at a given time, however the server sends it.

A socket's own time limit starts anew with each read. A server that sends a byte now and then, or
interim answers, headers or trailers without end, would never exceed it.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any


def limit_time(sock: socket.socket, deadline: float) -> None:
    """Let the next operation of a socket end at `deadline`, in seconds of the monotonic clock.

    Raises:
        TimeoutError: that time is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


class _ReaderUntil(io.RawIOBase):
    """Reads a socket until a deadline."""

    def __init__(self, raw: Any, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        limit_time(self._sock, self._deadline)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class TimedResponse(http.client.HTTPResponse):
    """The answer, whose every read raises TimeoutError behind the deadline."""

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
        *,
        deadline: float,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_ReaderUntil(raw, sock, deadline))

    def unclear_length(self) -> str:
        """Why the end of the body cannot be told (RFC 9112, 6.3 and 9.6); empty if it can."""
        if self.length is not None or self.chunked:
            return ""
        announced = self.headers.get("Content-Length")
        if announced is not None:
            return f"Content-Length: {announced[:40]}"
        closes = "close" in self.headers.get("Connection", "").lower()
        if closes or self.version < 11:
            return ""
        return "an answer without Content-Length on a connection that stays open"
