"""Single frames of a video file, spread evenly over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError

_SEEK_FROM = 100
"""Larger gaps between frames are sought; seeking decodes from the last key frame."""


def spread(available: int, wanted: int) -> list[int]:
    """Up to `wanted` of the numbers 0 to `available` - 1: the middles of equal parts."""
    parts = min(available, wanted)
    return [(2 * part + 1) * available // (2 * parts) for part in range(parts)]


class Video:
    """An open video file, read in ascending order of frames.

    Raises:
        ImageError: it is missing, or OpenCV cannot read it as a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # An absolute path: FFmpeg takes what is before a colon as a protocol.
        name = str(path.absolute())
        self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG) if path.is_file() else None
        self._next = 0
        if self._capture is None or not self._capture.isOpened():
            raise ImageError(
                f"the video {path} cannot be read",
                got="no such file" if self._capture is None else "no video that OpenCV can read",
                fix="Check the path; ffprobe says what the file holds",
            )

    def count(self) -> int:
        """Number of frames; counted one by one where the file does not say, which rewinds it."""
        assert self._capture is not None
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count > 0:
            return count
        count = 0
        while self._capture.grab():
            count += 1
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        return count

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, from 0, as (H, W, 3) uint8 BGR; after the one of the last call.

        Raises:
            ImageError: the video ends before it, or it does not decode.
        """
        assert self._capture is not None
        if not 0 <= index - self._next <= _SEEK_FROM:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        while self._next < index and self._capture.grab():
            self._next += 1
        image: Any = self._capture.read()[1] if self._next == index else None
        if image is None:
            raise ImageError(
                f"frame {index} of {self.path} cannot be read",
                got="the end of the video, or a frame that does not decode",
                fix="Play it with another program: the file may be cut short",
            )
        self._next += 1
        bgr: NDArray[np.uint8] = image if image.ndim == 3 else np.stack([image] * 3, axis=2)
        return bgr

    def close(self) -> None:
        """Release the file."""
        if self._capture is not None:
            self._capture.release()
