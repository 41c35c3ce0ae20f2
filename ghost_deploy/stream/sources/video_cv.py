"""Video files read by OpenCV, where PyAV is not installed."""

from __future__ import annotations

import time

import cv2
import numpy as np

from ghost_deploy.core.pixel_limit import check_pixels
from ghost_deploy.stream.sources.opencv import CvReader
from ghost_deploy.stream.sources.reader import Loader
from ghost_deploy.stream.sources.source_table import SourceAddress

_MOST_FAULTS = 1000
_LEAST_SHARE = 0.02
"""OpenCV estimates the number of frames where the container does not tell it."""
_LEAST, _LEAST_OF_DELAYED = 2, 5
"""In FLV and ASF the duration begins before the first frame, by as many as B-frames delay it."""
_DELAYED = (b"FLV\x01", b"\x30\x26\xb2\x75")
_TURNS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


class CvVideoReader(CvReader):
    """A video that OpenCV reads, on past what it cannot decode.

    OpenCV does not tell a frame that does not decode from other packets between two frames or from
    the end: a gap between the times of two frames tells it, and the number that the container
    announces counts what is left.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, address: SourceAddress, path: str) -> None:
        super().__init__(
            address,
            cv2.CAP_FFMPEG,
            path,
            problem="it holds no video that OpenCV can read",
            fix="Check the file: ffprobe shows what it holds",
        )
        width, height = (
            int(self._capture.get(each))
            for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        check_pixels(width, height, f"the video {address.label}")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate: float | None = float(rate) if rate > 0 else None
        # Whether OpenCV turns images itself, and which way, depends on its version.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._turn = _turn_of(round(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)))
        self._announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if self._announced and self._rate:
            self.duration_s = self._announced / self._rate
        head = _head(path)
        self._is_told = _tells_its_frames(head)
        self._least = _LEAST_OF_DELAYED if head[:4] in _DELAYED else _LEAST
        self._frames = 0  # that were returned
        self._broken_before = 0  # frames before the one that was grabbed
        self._at_s = 0.0

    def grab(self) -> int | None:
        if self._broken_before:
            self._broken_before -= 1
        elif not self._advance():
            missing = self._announced - self._frames
            least = 1 if self._is_told else max(self._least, _LEAST_SHARE * self._announced)
            self.missing = missing if missing >= least else 0
            return None
        self._frames += 1
        self.is_broken = self._broken_before > 0
        step_s = 1 / self._rate if self._rate else 0.0
        self.position_s = self._at_s - self._broken_before * step_s
        return time.monotonic_ns()

    def load(self) -> Loader:
        load, turn = super().load(), self._turn
        return load if turn is None else lambda: np.asarray(cv2.rotate(load(), turn), np.uint8)

    def _advance(self) -> bool:
        """Grab the next frame that decodes; False at the end."""
        for faults in range(max(_MOST_FAULTS, self._announced)):
            if self._capture.grab():
                self._broken_before = min(faults, self._gap())
                return True
        return False

    def _gap(self) -> int:
        """How many frames are missing between the grabbed frame and the one before it."""
        before_s, self._at_s = self._at_s, float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        if self._rate is None:
            return 0
        if not self._frames:
            return round(self._at_s * self._rate)
        if self._at_s <= before_s:  # without times
            self._at_s = before_s + 1 / self._rate
        return max(0, round((self._at_s - before_s) * self._rate) - 1)


def _turn_of(degrees: int) -> int | None:
    """OpenCV's constant for the orientation that it reports."""
    if cv2.__version__.startswith("4.6."):  # reports it the other way around
        degrees = -degrees % 360
    return _TURNS.get(degrees)


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(12)
    except OSError:
        return b""


def _tells_its_frames(head: bytes) -> bool:
    """Whether the file is MP4, QuickTime or AVI."""
    return head[4:8] in {b"ftyp", b"moov", b"mdat"} or head[8:] == b"AVI "
