"""An HTTP server on loopback that answers each path as a test says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Mapping


class PlainHttp:
    """Serves what `answers` return, by path: a status, headers and a body.

    Attributes:
        asked: the paths, in the order of the requests.
    """

    def __init__(self, answers: Mapping[str, Callable[[], tuple[int, dict[str, str], bytes]]]):
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                asked.append(path)
                status, headers, body = answers[path]()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is printed."""

        self.asked = asked
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> PlainHttp:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def body(
    data: bytes, kind: str, *, declared: int | None = None
) -> tuple[int, dict[str, str], bytes]:
    """A good answer; `declared`: another length than the true one."""
    length = len(data) if declared is None else declared
    return 200, {"Content-Type": kind, "Content-Length": str(length)}, data
