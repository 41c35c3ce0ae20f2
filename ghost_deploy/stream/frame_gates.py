"""Which frames of a source are worth inferring."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


class RateLimit:
    """Passes every Nth frame, and of these at most `fps` a second.

    Args:
        every: 1 passes all frames, 2 every other one, beginning with the first.
        fps: most frames a second; no limit when None.
    """

    def __init__(self, every: int = 1, fps: float | None = None) -> None:
        self._every = every
        self._period_ns = round(1e9 / fps) if fps else 0
        self._seen = 0
        self._due_ns: int | None = None

    def admits(self, t_ns: int) -> bool:
        """Whether the frame captured at `t_ns` passes; call it once for each frame, in order."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return False
        if not self._period_ns:
            return True
        if self._due_ns is None:
            self._due_ns = t_ns
        # The camera's jitter must not halve the rate: a tenth of a period early counts as on time.
        if t_ns < self._due_ns - self._period_ns // 10:
            return False
        # The grid is kept, so that the mean rate is the requested one; after a pause it restarts
        # instead of catching up.
        late = t_ns - self._due_ns
        self._due_ns += self._period_ns if late < self._period_ns else late + self._period_ns
        return True


class MotionGate:
    """Detects images without motion since the last one that passed.

    Images are compared as grey thumbnails. There is motion when any cell of the thumbnail changes
    by more than a camera's noise; the median brightness is subtracted first, so that automatic
    exposure and clouds are not motion.
    """

    _SIZE = (64, 36)  # width, height of the thumbnail: a cell is 30 x 30 pixels of 1080p
    _THRESHOLD = 12.0  # grey levels, of 255; sensor noise of a cell's mean is about 1

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None

    def is_still(self, image: NDArray[np.uint8]) -> bool:
        """Whether `image`, (H, W, 3) uint8 BGR, is without motion; the first image is not."""
        small = cv2.resize(image, self._SIZE, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        thumbnail: NDArray[np.float32] = grey - np.float32(np.median(grey))
        last = self._last
        if last is not None and float(np.abs(thumbnail - last).max()) <= self._THRESHOLD:
            return True
        self._last = thumbnail
        return False
