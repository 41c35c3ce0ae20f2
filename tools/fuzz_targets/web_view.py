"""What visitors send to the web view."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Sequence

from tools.fuzz_targets.target import Target


class WebTarget(Target):
    """What visitors send to the web view; afterwards it must answer as before."""

    name = "web"
    tokens = (
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: evil\r\n",
        b"HTTP/9.9",
        b"%00",
        b"/../",
        b"\x00",
        b"GET http://a/ HTTP/1.1\r\n",
        b"Cookie: \xff\xfe=1\r\n",
        b"Authorization: Basic \xff\r\n",
        b"Range: bytes=0-\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"X" * 70_000,
        b"POST",
        b"HEAD",
        b"OPTIONS",
        b"?after=1e9",
        b"?after=" + b"9" * 5000,
        b"Connection: close\r\n",
    )
    _HEAD = b"Host: localhost\r\nAuthorization: Bearer " + b"a" * 20 + b"\r\n"
    _ASK = b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + _HEAD + b"\r\n"

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.stream.web.web_view import WebViewSink
        from tests.stream.test_web_parts import CARD

        self._errors = _Records()
        logging.getLogger().addHandler(self._errors)
        self._stack.callback(logging.getLogger().removeHandler, self._errors)
        self._view = WebViewSink("127.0.0.1:0", CARD, token="a" * 20)
        self._stack.callback(self._view.close)
        paths = (b"/", b"/api/status", b"/api/images?after=0", b"/metrics", b"/app.js", b"/healthz")
        found = [b"GET " + path + b" HTTP/1.1\r\n" + self._HEAD + b"\r\n" for path in paths]
        login = (
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\ntoken="
        )
        return [*found, b"POST /login HTTP/1.1\r\n" + self._HEAD + login + b"a" * 20]

    def run(self, data: bytes) -> object:
        self._send(data, wait_s=0.05)
        if not self._send(self._ASK, wait_s=20).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("/livez is not answered any more")
        if self._errors.texts:
            raise RuntimeError(f"logged: {self._errors.texts.pop()}")
        return None

    def _send(self, data: bytes, wait_s: float) -> bytes:
        place = (self._view.address.host, self._view.address.port)
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection(place, wait_s) as connection:
            connection.settimeout(wait_s)
            connection.sendall(data)
            while len(answer) < 1 << 20 and (more := connection.recv(1 << 16)):
                answer += more
        return answer


class _Records(logging.Handler):
    """Keeps the errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
