"""Sources in memory, and the true age of numbered frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.sources.reader import Reader
from tests.support.numbered_frames import read_number


class Decoded(Reader):
    """A source that repeats images in memory."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = itertools.cycle(images)

    def grab(self) -> int:
        return time.monotonic_ns()

    def load(self) -> Callable[[], NDArray[np.uint8]]:
        image = next(self._images)
        return lambda: image

    def close(self) -> None:
        """Nothing is held."""


def true_age(image: NDArray[np.uint8], fps: float, epoch: float) -> float:
    """Milliseconds since the frame was made, by the number that it carries."""
    number = read_number(image)
    assert number is not None, "the camera does not number its frames"
    return (time.monotonic() - epoch - number / fps) * 1e3


class PacedCamera(Decoded):
    """A camera of decoded images that come at their own pace; a late reader gets the newest."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], fps: float) -> None:
        super().__init__(images)
        self._interval, self._due = 1 / fps, time.monotonic()

    def grab(self) -> int:
        self._due = max(self._due + self._interval, time.monotonic() - self._interval)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return time.monotonic_ns()
