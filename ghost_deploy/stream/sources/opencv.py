"""What OpenCV reads: the reader that cameras, RTSP and videos share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2

from ghost_deploy.stream.sources.reader import Loader, Reader, broken, lost
from ghost_deploy.stream.sources.source_table import SourceAddress


class CvReader(Reader):
    """A source that OpenCV reads.

    Args:
        address: what is read, for messages.
        backend: OpenCV's `CAP_` constant.
        target: what to open.
        options: OpenCV's list of properties and values for opening.
        problem, fix: of the error if it does not open; a function may find the problem out.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(
        self,
        address: SourceAddress,
        backend: int,
        target: str | int,
        *,
        options: Sequence[int] = (),
        problem: str | Callable[[], str],
        fix: str,
    ) -> None:
        self._label = address.label
        _silence_vendors()
        try:
            self._capture: Any = cv2.VideoCapture(target, backend, options)
        except cv2.error:
            # Not chained: OpenCV's message repeats the address with its password.
            raise lost(self._label, "OpenCV refuses it") from None
        if not self._capture.isOpened():
            self._capture.release()
            raise lost(self._label, problem if isinstance(problem, str) else problem(), fix)

    def grab(self) -> int | None:
        if self._capture.grab():
            return time.monotonic_ns()
        raise lost(self._label, "no more frames came")

    def load(self) -> Loader:
        done, image = self._capture.retrieve()
        if not done or image is None:
            return broken("a frame of the stream does not decode")
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return lambda: image

    def close(self) -> None:
        self._capture.release()


_SILENT = 0  # LOG_LEVEL_SILENT, a constant that the versions have in different places or not at all


def _silence_vendors() -> None:
    """Silence OpenCV and FFmpeg, which print addresses with their passwords.

    What the user set in the environment stays.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if hasattr(cv2, "setLogLevel"):  # until 4.12; 4.13 has moved it
        cv2.setLogLevel(_SILENT)
    else:
        cv2.utils.logging.setLogLevel(_SILENT)
