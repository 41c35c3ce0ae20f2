"""Motion JPEG: from an HTTP camera, or from standard input."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import select
import sys
import time
from abc import abstractmethod
from collections import deque
from typing import Any

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.http_client import cannot_read
from ghost_deploy.stream.sources.jpeg import JpegSplitter, decode_jpeg
from ghost_deploy.stream.sources.reader import Loader, Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_CHUNK = 1 << 16


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


def open_reader(address: SourceAddress, policy: LivePolicy) -> PipeMjpegReader:
    """See `SourceModule`; of the kind `stdin`."""
    return PipeMjpegReader(sys.stdin.fileno(), policy.read_timeout_s)


class HttpMjpegReader(_MjpegReader):
    """Multipart JPEG over HTTP.

    Args:
        answer: of the server, an `http.client.HTTPResponse`.
        label: of the source.
        policy: with the timeouts.
    """

    def __init__(self, answer: Any, label: str, policy: LivePolicy) -> None:
        super().__init__(label, policy.read_timeout_s)
        self._answer: Any = answer

    def _receive(self) -> bytes:
        try:
            data: bytes = self._answer.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise cannot_read(self._label, error) from error
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
