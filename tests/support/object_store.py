"""An S3 bucket on loopback, and a proxy in front of it that fails as stores do."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUCKET = "archive"
_OF_A_HOP = frozenset({"connection", "content-length", "expect", "transfer-encoding"})
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_SLOW = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


class FailingProxy(ThreadingHTTPServer):
    """Passes requests on to a store, or fails.

    Args:
        port: of the store on loopback.

    Attributes:
        is_revoked: every request is answered by 403.
        denied: text in the paths that are answered by 403.
        slow_share: share of the requests that is answered by 503.
        dropped_share: share of the requests whose connection is closed without an answer.
        counts: requests by what became of them.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store_port = port
        self.is_revoked, self.denied = False, ""
        self.slow_share = self.dropped_share = 0.0
        self.counts: Counter[str] = Counter()
        self.chance = random.Random(0)

    @property
    def url(self) -> str:
        """The endpoint that clients are given."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed close their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FailingProxy

    def _serve(self) -> None:
        body = self._body()
        proxy = self.server
        number = proxy.chance.random()
        if proxy.is_revoked or (proxy.denied and proxy.denied in self.path):
            self._answer("denied", 403, _DENIED)
        elif number < proxy.slow_share:
            self._answer("slow", 503, _SLOW)
        elif number < proxy.slow_share + proxy.dropped_share:
            proxy.counts["dropped"] += 1
            self.close_connection = True
        else:
            self._pass_on(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _pass_on(self, body: bytes) -> None:
        self.server.counts["passed"] += 1
        connection = http.client.HTTPConnection("127.0.0.1", self.server.store_port)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _OF_A_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, kind: str, status: int, data: bytes) -> None:
        self.server.counts[kind] += 1
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at the counts."""


@contextlib.contextmanager
def object_store() -> Iterator[FailingProxy]:
    """A store with the empty bucket `BUCKET`, behind a proxy; the environment leads to it."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy = FailingProxy(port)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        _make_bucket(port)
        yield proxy
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
        proxy.shutdown()
        proxy.server_close()
        thread.join()
        server.kill()
        server.wait()


def put(proxy: FailingProxy, key: str, data: bytes) -> None:
    """Write an object, past the proxy."""
    _request(proxy.store_port, "PUT", f"/{BUCKET}/{key}", data)


def delete(proxy: FailingProxy, key: str) -> None:
    """Delete an object, past the proxy."""
    _request(proxy.store_port, "DELETE", f"/{BUCKET}/{key}")


def _make_bucket(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            _request(port, "PUT", f"/{BUCKET}")
            return
        time.sleep(0.1)
    raise TimeoutError("the store does not start")


def _request(port: int, method: str, path: str, data: bytes = b"") -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
    connection.request(method, path, data, {**signed, "Host": "127.0.0.1"})
    status = connection.getresponse().status
    connection.close()
    assert status < 300, f"{method} {path}: {status}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
