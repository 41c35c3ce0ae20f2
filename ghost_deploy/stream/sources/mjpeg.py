"""Motion JPEG: from an HTTP camera, or from standard input."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import select
import sys
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections import deque
from typing import Any
from urllib.parse import quote

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.jpeg import JpegSplitter, decode_jpeg
from ghost_deploy.stream.sources.reader import Loader, Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_CHUNK = 1 << 16
_UNAUTHORIZED = 401


class _MjpegReader(Reader):
    """JPEG images of a byte stream, decoded only when their turn comes."""

    def __init__(self, label: str, timeout_s: float) -> None:
        self._label = label
        self._timeout = timeout_s
        self._splitter = JpegSplitter()
        self._ready: deque[bytes | None] = deque()
        self._image: bytes | None = None

    def grab(self) -> int | None:
        # A server that sends single bytes would never reach the timeout of one read.
        deadline = time.monotonic() + self._timeout
        while not self._ready:
            data = self._receive()
            if data is None:
                return None
            self._ready.extend(self._splitter.feed(data))
            if not self._ready and time.monotonic() > deadline:
                raise lost(self._label, f"no whole image in {self._timeout:g} s")
        self._image = self._ready.popleft()
        self.is_broken = self._image is None
        return time.monotonic_ns()

    def load(self) -> Loader:
        assert self._image is not None, "it is broken"
        return functools.partial(decode_jpeg, self._image)

    @abstractmethod
    def _receive(self) -> bytes | None:
        """Return some bytes, or None at the end; raises InputError when the source is lost."""


def open_reader(address: SourceAddress, policy: LivePolicy) -> _MjpegReader:
    """See `SourceModule`; of the kinds `mjpeg` and `stdin`."""
    if address.kind == "stdin":
        return PipeMjpegReader(sys.stdin.fileno(), policy.read_timeout_s)
    return HttpMjpegReader(address, policy)


class HttpMjpegReader(_MjpegReader):
    """Multipart JPEG over HTTP, with Basic or Digest authentication from the address.

    Raises:
        InputError: no answer, a refusal, or no stream of JPEG images.
    """

    def __init__(self, address: SourceAddress, policy: LivePolicy) -> None:
        super().__init__(address.label, policy.read_timeout_s)
        try:
            opener, url = _opener(address.target)
            # One timeout serves connecting, the answer and every read after it.
            timeout = min(policy.open_timeout_s, policy.read_timeout_s)
            self._answer: Any = opener.open(url, timeout=timeout)
        # ValueError: an invalid address. Not chained: messages may repeat the address.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise lost(address.label, _reason(error)) from None
        kind = self._answer.headers.get_content_type()
        if not kind.startswith("multipart/"):
            self.close()
            raise lost(
                address.label,
                f"an answer of type {kind}",
                "Give the camera's address of an MJPEG stream (multipart/x-mixed-replace)",
            )

    def _receive(self) -> bytes:
        try:
            data: bytes = self._answer.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise lost(self._label, _reason(error)) from error
        if not data:
            where = " in the middle of an image" if self._splitter.pending else ""
            raise lost(self._label, f"the server closed the connection{where}")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._answer.close()


class PipeMjpegReader(_MjpegReader):
    """JPEG images, one after another or multipart, from a file descriptor, which stays open.

    A pipe without data for `timeout_s` is lost, and read on when it is opened again; only its end
    is final.
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


def _opener(url: str) -> tuple[urllib.request.OpenerDirector, str]:
    """An opener with the user and password of `url`, and the URL without them."""
    camera = split_address(url)
    bare = quote(camera.bare, safe="%/:=&?~#+!$,;'@()*[]")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if camera.user or camera.password:
        passwords.add_password(None, bare, camera.user, camera.password)
    handlers = (
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPBasicAuthHandler(passwords),
    )
    return urllib.request.build_opener(*handlers), bare


def _reason(error: Exception) -> str:
    """Why a connection failed, without the address."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        why = "user or password is refused: " if error.code == _UNAUTHORIZED else ""
        return f"{why}HTTP status {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server does not answer"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"no valid answer ({type(cause).__name__})"
