from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.sinks import webhook
from ghost_deploy.stream.sinks.webhook import WebhookSink
from tests.support.stream_results import NOTHING, make_result
from tests.support.waiting import wait_until


class Server(ThreadingHTTPServer):
    """Answers POST with `statuses` in turn, then with 204; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.posts: list[tuple[str, dict[str, str], Any]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), json.loads(body)))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        *("", "host", "ftp://secret@host/", "http://", "http://u:secret@host:port/", "http://[/"),
        *("http://secret host/", "http://h/a b", "http://h/ü", "http://h/\x1b"),
    ],
)
def test_an_address_that_cannot_be_used(url: str) -> None:
    with pytest.raises(UsageError, match="webhook") as caught:
        WebhookSink(url)
    assert "secret" not in str(caught.value)


def test_only_what_was_detected_is_sent(server: Server) -> None:
    sink = WebhookSink(f"http://{server.address}/hook?key=1", every_s=1.0)
    sink.write(make_result(found=NOTHING, at_ms=0))
    for index, at_ms in enumerate((100, 200, 1100)):
        sink.write(make_result(index=index, at_ms=at_ms))
    sink.close()
    assert [body["index"] for _, _, body in server.posts] == [0, 2]
    path, headers, body = server.posts[0]
    assert path == "/hook?key=1"
    assert headers["Content-Type"] == "application/json"
    assert body["schema"] == 1
    assert body["source_id"] == "cam1"
    assert len(body["detections"]) == 2
    assert (sink.stats().sent, sink.stats().dropped, sink.stats().waiting) == (2, 0, 0)


def test_user_and_password(server: Server) -> None:
    sink = WebhookSink(f"http://us%40er:pass@{server.address}/")
    sink.write(make_result())
    sink.close()
    expected = base64.b64encode(b"us@er:pass").decode()
    assert server.posts[0][1]["Authorization"] == f"Basic {expected}"


@pytest.mark.parametrize(
    ("status", "posts", "sent", "dropped"),
    [(503, 2, 1, 0), (429, 2, 1, 0), (404, 1, 0, 1), (302, 1, 0, 1)],
)
def test_answers(server: Server, status: int, posts: int, sent: int, dropped: int) -> None:
    server.statuses = [status]
    sink = WebhookSink(f"http://{server.address}/")
    sink.write(make_result())
    sink.close()
    stats = sink.stats()
    assert (len(server.posts), stats.sent, stats.dropped) == (posts, sent, dropped)
    assert stats.last_error == f"HTTP status {status}"


def test_a_server_that_is_not_there(server: Server) -> None:
    address = server.address
    server.shutdown()
    server.server_close()
    sink = WebhookSink(f"http://user:secret@{address}/")
    sink.write(make_result())
    wait_until(lambda: sink.stats().retries)
    assert sink.stats().last_error == "Connection refused"
    assert "secret" not in sink.stats().last_error
    sink.close()
    assert sink.stats().dropped == 1


@pytest.mark.parametrize(
    ("begin", "again", "reason"),
    [
        (b"", b"H", "no valid answer"),
        (b"HTTP/1.1 200 OK\r\n", b"a", ""),
        (b"X: " + b"y" * 50_000 + b"\r\n", b"", "no valid answer (BadStatusLine)"),
        (b"\x00\x1b[31m\r\n", b"", "no valid answer (BadStatusLine)"),
    ],
    ids=["a status without end", "a header without end", "a long line", "control characters"],
)
def test_a_server_that_sends_something_else(
    begin: bytes, again: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then begins the time limit of a socket anew: the run did not end."""
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.4)
    ended = threading.Event()

    def answer() -> None:
        connection = listening.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(begin)
            while again and not ended.wait(0.05):
                connection.sendall(again)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        sink = WebhookSink(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        sink.write(make_result())
        try:
            wait_until(lambda: sink.stats().retries or sink.stats().sent)
            assert sink.stats().last_error.startswith(reason)
            assert len(sink.stats().last_error) < 300
        finally:
            ended.set()
            thread.join()
            listening.close()
            sink.close()
