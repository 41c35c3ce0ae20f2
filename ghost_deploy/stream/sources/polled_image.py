"""An image at an address, fetched again and again: what a camera sees now."""

from __future__ import annotations

import contextlib
import functools
import http.client
import time
from typing import Any

from ghost_deploy.processing.decode_image import decode_image
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.http_client import cannot_read, open_url
from ghost_deploy.stream.sources.reader import Loader, Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_MOST_BYTES = 64 << 20


class PolledImageReader(Reader):
    """Fetches an image `policy.fps` times a second, once by default; each is a frame.

    Args:
        answer: to the first request, an `http.client.HTTPResponse`; it is closed.
        address: of the image.
        policy: with the rate and the timeouts.
    """

    def __init__(self, answer: Any, address: SourceAddress, policy: LivePolicy) -> None:
        self._answer: Any = answer
        self._address = address
        self._policy = policy
        self._period_s = 1 / policy.fps if policy.fps else 1.0
        self._due_s: float | None = None
        self._data = b""

    def grab(self) -> int:
        asked_s = time.monotonic()
        answer, self._answer = self._answer or open_url(self._address, self._policy), None
        kind = answer.headers.get_content_type()
        try:
            self._data = answer.read(_MOST_BYTES)
            # A shorter body than declared: the connection was cut.
            self.is_broken = answer.length not in {None, 0}
        except http.client.IncompleteRead:
            self.is_broken = True
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise cannot_read(self._address.label, error) from error
        finally:
            with contextlib.suppress(OSError):
                answer.close()
        if kind.startswith(("text/html", "multipart/")):
            raise lost(self._address.label, f"an answer of type {kind} instead of an image")
        self.pause_s = max(0.0, self._next_s(asked_s) - time.monotonic())
        return round(asked_s * 1e9)

    def _next_s(self, asked_s: float) -> float:
        """When to ask next: a grid is kept, as by `RateLimit`, and begun anew after a delay."""
        due_s = asked_s if self._due_s is None else self._due_s
        self._due_s = (due_s if asked_s - due_s < self._period_s else asked_s) + self._period_s
        return self._due_s

    def load(self) -> Loader:
        return functools.partial(decode_image, self._data, "the image that the server sent")
