"""Results to a web server, by HTTP POST."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import SplitResult, unquote

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.outbox import Answer, Outbox
from ghost_deploy.stream.sinks.record import DetectionGate, result_message
from ghost_deploy.stream.sinks.sink import CountingSink, DeliveryStats, Sink, server_url

_TIMEOUT_S = 10.0
_MOST_OF_A_REASON = 200
# RFC 9110 and 6585: the same request may succeed later.
_TRY_AGAIN = frozenset({408, 425, 429})


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a URL."""
    return WebhookSink(target)


class WebhookSink(CountingSink):
    """POSTs results with detections as JSON, one a request, in the form of `JsonlSink`.

    It never delays the pipeline: a queue of 256 results in memory is delivered in order by a
    thread, with back-off while the server is unreachable. Redirects are not followed.

    Args:
        url: `http` or `https`; a user and password in it become basic authentication.
        every_s: least time between two results of a source, seconds; 0 sends all.

    Raises:
        UsageError: not a valid URL.
    """

    def __init__(self, url: str, *, every_s: float = 1.0) -> None:
        parts = _checked(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = parts._replace(netloc=host, fragment="").geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": "ghost-deploy"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        self._opener = urllib.request.build_opener(_NoRedirect, _Http, _Https)
        self._gate = DetectionGate(every_s)
        self._outbox = Outbox(self._post)

    def write(self, result: Result) -> None:
        """Queue one result, if it has detections and the interval is over."""
        if self._gate.admits(result):
            self._outbox.put(result_message(result))

    def stats(self) -> DeliveryStats:
        """Return the counters now."""
        return self._outbox.stats()

    def close(self) -> None:
        """Deliver what waits, for two seconds and an attempt under way at most."""
        self._outbox.close()

    def _post(self, body: bytes) -> Answer:
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                return Answer("taken")
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in _TRY_AGAIN
            return Answer("later" if again else "refused", f"HTTP status {error.code}")
        except urllib.error.URLError as error:
            return Answer("later", _line(error.reason))
        # What a server says in the place of an answer is its own text: it is not repeated.
        except http.client.HTTPException as error:
            return Answer("later", f"no valid answer ({type(error).__name__})")
        except (OSError, UnicodeError) as error:
            return Answer("later", _line(error))


class _Timed(urllib.request.AbstractHTTPHandler):
    """Ends an attempt after its time, however slowly the server answers.

    The time limit of a socket begins anew with each byte.
    """

    def do_open(self, http_class: Any, req: urllib.request.Request, **how: Any) -> Any:
        """As the base class."""
        made: list[http.client.HTTPConnection] = []

        def connection(*where: Any, **settings: Any) -> http.client.HTTPConnection:
            made.append(http_class(*where, **settings))
            return made[0]

        timer = threading.Timer(_TIMEOUT_S, _shut, [made])
        timer.daemon = True
        timer.start()
        try:
            return super().do_open(connection, req, **how)
        finally:
            timer.cancel()


class _Http(_Timed, urllib.request.HTTPHandler):
    """Over HTTP."""


class _Https(_Timed, urllib.request.HTTPSHandler):
    """Over HTTPS."""


def _shut(made: list[http.client.HTTPConnection]) -> None:
    for sock in filter(None, (connection.sock for connection in made)):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TLS without its farewell


def _line(error: object) -> str:
    """What an error says, in one line, without its number."""
    known = error.strerror if isinstance(error, OSError) else ""
    return " ".join(str(known or error).split())[:_MOST_OF_A_REASON] or type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are refused: they would send results and password to an unknown server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _is_sent(url: str) -> bool:
    """Whether a request can hold the address: what is no part of one must be written as %XX."""
    return url.isprintable() and not re.search(r"\s", url)


def _checked(url: str) -> SplitResult:
    parts = server_url(url, ("http", "https"))
    if parts is None or not (_is_sent(url) and (parts.path + parts.query).isascii()):
        # The URL may hold a password: it is not repeated.
        raise UsageError(
            "the address of the webhook cannot be used",
            expected="http://host/path or https://host/path",
            fix="Give the address of a server that takes POST requests",
        )
    return parts
