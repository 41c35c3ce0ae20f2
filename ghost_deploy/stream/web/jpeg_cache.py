"""Annotated images as JPEG, encoded on demand and once for all viewers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.processing.images import as_bgr
from ghost_deploy.stream.draw import draw
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.web.latest_results import NumberedResult

SIDES = (480, 960, 1600)
"""The sizes that can be requested: limits of the longer side, pixels."""

_QUALITY = 80


class Notifier:
    """Notifies coroutines of new results that another thread has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.is_closed = False

    def send(self) -> None:
        """Set the event of each listener."""
        with self._lock:
            listeners = tuple(self._listeners)
        for loop, event in listeners:
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Set `is_closed` and notify: nothing will follow."""
        self.is_closed = True
        self.send()

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """An event of the running loop, set by `send`; clear it before looking for news."""
        listener = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._listeners.append(listener)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners.remove(listener)


class JpegCache:
    """The newest JPEG of each source and size, encoded in a thread outside the event loop."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, int], tuple[int, asyncio.Future[bytes]]] = {}

    async def jpeg(self, latest: NumberedResult, side: int) -> bytes:
        """Return the annotated image of a result, its longer side at most `side` pixels."""
        key = latest.result.source, side
        serial, encoded = self._newest.get(key, (0, None))
        if encoded is None or serial != latest.serial:
            loop = asyncio.get_running_loop()
            encoded = loop.run_in_executor(None, encode, latest.result, side)
            self._newest[key] = latest.serial, encoded
        # A viewer that disconnects must not cancel the image of the others.
        return await asyncio.shield(encoded)


def encode(result: Result, side: int) -> bytes:
    """Annotate and encode as JPEG; the image is scaled down first, so that labels stay legible.

    Args:
        result: to show.
        side: limit of the longer side, pixels.
    """
    image, found = as_bgr(result.frame), result.detections
    scale = min(1.0, side / max(result.frame.size_hw))
    if scale < 1.0:
        height, width = (max(1, round(length * scale)) for length in result.frame.size_hw)
        image = cast(
            NDArray[np.uint8], cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        )
        found = replace(found, xyxy=found.xyxy * np.float32(scale))
    image = draw(image, found)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
