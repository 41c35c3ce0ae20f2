"""Motion JPEG: from an HTTP camera, or from standard input."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import select
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections import deque
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ghost_deploy.core.errors import ImageError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.jpeg import JpegSplitter, decode_jpeg
from ghost_deploy.stream.sources.reader import Loader, lost
from ghost_deploy.stream.sources.uri import Source

__all__ = ["HttpMjpegReader", "PipeMjpegReader"]

_CHUNK = 1 << 16


class _MjpegReader(ABC):
    """Pictures of a byte stream. A picture is decoded only when its turn comes."""

    rate: float | None = None

    def __init__(self, label: str, timeout_s: float) -> None:
        self._label = label
        self._timeout = timeout_s
        self._splitter = JpegSplitter()
        self._ready: deque[bytes | None] = deque()
        self._picture: bytes | None = None

    def grab(self) -> int | None:
        # A server that sends a byte now and then never runs into the timeout of a single read.
        deadline = time.monotonic() + self._timeout
        while not self._ready:
            data = self._receive()
            if data is None:
                return None
            self._ready.extend(self._splitter.feed(data))
            if not self._ready and time.monotonic() > deadline:
                raise lost(self._label, f"no whole picture in {self._timeout:g} s")
        self._picture = self._ready.popleft()
        return time.monotonic_ns()

    def load(self) -> Loader:
        picture = self._picture
        return _broken if picture is None else functools.partial(decode_jpeg, picture)

    @abstractmethod
    def _receive(self) -> bytes | None:
        """Some bytes, or None at the end; raises InputError when the source is lost."""


class HttpMjpegReader(_MjpegReader):
    """Multipart JPEG over HTTP, with Basic or Digest authentication from the address.

    Raises:
        InputError: no answer, a refusal, or something else than a stream of JPEG pictures.
    """

    def __init__(self, source: Source, policy: LivePolicy) -> None:
        super().__init__(source.label, policy.read_timeout_s)
        try:
            opener, address = _opener(source.target)
            # One timeout serves connecting, the answer and every read after it.
            timeout = min(policy.open_timeout_s, policy.read_timeout_s)
            self._answer: Any = opener.open(address, timeout=timeout)
        # ValueError: an address that is none. Not chained: messages may repeat the address.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise lost(source.label, _reason(error)) from None
        kind = self._answer.headers.get_content_type()
        if not kind.startswith("multipart/"):
            self.close()
            raise lost(
                source.label,
                f"an answer of type {kind}",
                "Give the camera's address of an MJPEG stream (multipart/x-mixed-replace)",
            )

    def _receive(self) -> bytes:
        try:
            data: bytes = self._answer.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise lost(self._label, _reason(error)) from error
        if not data:
            where = " in the middle of a picture" if self._splitter.pending else ""
            raise lost(self._label, f"the server closed the connection{where}")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._answer.close()


class PipeMjpegReader(_MjpegReader):
    """JPEG pictures, one after another or multipart, from a file descriptor, left open.

    A pipe that is silent for `timeout_s` is lost and read on when it is opened again; only its
    end is final.
    """

    def __init__(self, descriptor: int, timeout_s: float) -> None:
        super().__init__("standard input", timeout_s)
        self._descriptor = descriptor

    def _receive(self) -> bytes | None:
        ready, _, _ = select.select([self._descriptor], [], [], self._timeout)
        if not ready:
            raise lost(self._label, f"nothing came for {self._timeout:g} s")
        try:
            return os.read(self._descriptor, _CHUNK) or None
        except OSError as error:
            raise lost(self._label, error.strerror or "it cannot be read") from error

    def close(self) -> None:
        """Nothing is held."""


def _broken() -> Any:
    raise ImageError("a picture of the stream was cut off", fix="It is left out")


def _opener(address: str) -> tuple[urllib.request.OpenerDirector, str]:
    """What opens `address` with the user and password in it, and the address without them."""
    parts = urlsplit(address)
    user_info, _, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if user_info:
        user, _, password = user_info.partition(":")
        passwords.add_password(None, bare, unquote(user), unquote(password))
    handlers = (
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPBasicAuthHandler(passwords),
    )
    return urllib.request.build_opener(*handlers), bare


def _reason(error: Exception) -> str:
    """Why a connection failed, in words that hold no address."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP status {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server does not answer"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"no valid answer ({type(cause).__name__})"
