"""Which frames of a source are worth inferring, and when to try again after a loss."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UsageError

__all__ = ["Backoff", "LivePolicy", "MotionGate", "RateLimit", "Roi"]

_ROI_FORM = "x1,y1,x2,y2 in source pixels, or as fractions from 0 to 1"


class Backoff:
    """Delays between attempts: doubled each time up to a limit, each shortened at random.

    The randomness (`full` to half of the delay) keeps many readers of one restarted camera or
    switch from knocking at the same moment.

    Args:
        first_s, most_s: the first and the longest delay, seconds.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first = first_s
        self._most = most_s
        self._next = first_s

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._next
        self._next = min(delay * 2, self._most)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The source was healthy: start again with the first delay."""
        self._next = self._first


class RateLimit:
    """Lets every Nth frame pass, and of these at most so many a second.

    Args:
        every: 1 lets every frame pass, 2 every other, beginning with the first.
        fps: most frames a second; None sets no limit.
    """

    def __init__(self, every: int = 1, fps: float | None = None) -> None:
        self._every = every
        self._period_ns = round(1e9 / fps) if fps else 0
        self._seen = 0
        self._due_ns: int | None = None

    def admits(self, t_ns: int) -> bool:
        """Whether the frame captured at `t_ns` passes. Call it once for each frame, in order."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return False
        if not self._period_ns:
            return True
        if self._due_ns is None:
            self._due_ns = t_ns
        # A camera's own jitter must not halve the rate: a tenth of a period early is on time.
        if t_ns < self._due_ns - self._period_ns // 10:
            return False
        # The grid stays where it is, so that the mean rate is the one asked for; after a pause
        # it starts anew instead of catching up.
        late = t_ns - self._due_ns
        self._due_ns += self._period_ns if late < self._period_ns else late + self._period_ns
        return True


class MotionGate:
    """Tells pictures in which nothing moved since the last one that was let through.

    A picture is compared as a grey thumbnail. It moved when any of the thumbnail's cells changed
    by more than the noise of a camera; the mean brightness is taken out first, so that automatic
    exposure and clouds are no motion.
    """

    _SIZE = (64, 36)  # width, height of the thumbnail: a cell is 30 x 30 pixels of 1080p
    _THRESHOLD = 12.0  # grey levels, of 255; sensor noise of a cell's mean is about 1

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None

    def is_still(self, image: NDArray[np.uint8]) -> bool:
        """Whether `image`, (H, W, 3) uint8 BGR, shows no motion. The first picture moved."""
        small = cv2.resize(image, self._SIZE, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        thumbnail: NDArray[np.float32] = grey - np.float32(np.median(grey))
        last = self._last
        if last is not None and float(np.abs(thumbnail - last).max()) <= self._THRESHOLD:
            return True
        self._last = thumbnail
        return False


@dataclass(frozen=True)
class Roi:
    """A rectangle of the picture: source pixels, or fractions of its width and height."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def parse(cls, text: str) -> Roi:
        """Read `x1,y1,x2,y2`; it is in fractions if no number is above 1.

        Raises:
            UsageError: not four numbers, or no area.
        """
        number = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*"
        match = re.fullmatch(",".join([number] * 4), text)
        roi = cls(*map(float, match.groups())) if match else None
        if roi is None or roi.x1 >= roi.x2 or roi.y1 >= roi.y2:
            raise UsageError(
                "this is no region", got=text, expected=_ROI_FORM, fix="Give --roi 0,0,0.5,1"
            )
        return roi

    def pixels(self, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in whole pixels of a picture of `size_hw`, clipped to it.

        Raises:
            UsageError: the region is outside the picture.
        """
        height, width = size_hw
        fractions = max(self.x2, self.y2) <= 1
        scale_x, scale_y = (width, height) if fractions else (1, 1)
        x1, x2 = (min(round(x * scale_x), width) for x in (self.x1, self.x2))
        y1, y2 = (min(round(y * scale_y), height) for y in (self.y1, self.y2))
        if x1 >= x2 or y1 >= y2:
            corners = ",".join(f"{value:g}" for value in (self.x1, self.y1, self.x2, self.y2))
            raise UsageError(
                f"the region {corners} is outside the picture",
                got=f"a picture of {width} x {height} pixels",
                fix="Give the region as fractions from 0 to 1",
            )
        return x1, y1, x2, y2


@dataclass(frozen=True)
class LivePolicy:
    """What is done with the frames of every source.

    Attributes:
        max_age_ms: a live frame older than that when its turn comes is dropped; None keeps all.
        fps: most frames inferred a second of each source; None sets no limit.
        every: infer every Nth frame.
        skip_still: drop frames in which nothing moved.
        roi: infer that part of the picture only.
        require_all: a source that is not there at the start is an error.
        give_up_s: a live source lost for so long has failed; None tries for ever.
        rtsp_by: what reads RTSP: `auto` is GStreamer where it has the decoder of a Jetson, else
            FFmpeg.
        batch: most frames inferred at once, of live sources one of each.
        batch_wait_ms: how long the first frame of a batch waits for others of live sources.
        open_timeout_s, read_timeout_s: a source silent for so long is lost, seconds.
        retry_s: first and longest delay before a lost source is opened again, seconds.
    """

    max_age_ms: float | None = None
    fps: float | None = None
    every: int = 1
    skip_still: bool = False
    roi: Roi | None = None
    require_all: bool = False
    give_up_s: float | None = None
    rtsp_by: Literal["auto", "ffmpeg", "gstreamer"] = "auto"
    batch: int = 1
    batch_wait_ms: float = 10.0
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    retry_s: tuple[float, float] = (0.1, 10.0)
