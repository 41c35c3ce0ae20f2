"""An image of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError


@dataclass(frozen=True, eq=False)
class Frame:
    """An image and its source.

    Attributes:
        image: (H, W, 3) uint8.
        color: channel order of `image`.
        index: position in its source, from 0.
        t_capture_ns: monotonic time of capture or reading, nanoseconds.
        source: path or address of the source, without credentials.
        position_s: of the frame in its video, seconds; None if it is of no video.

    Raises:
        ImageError: `image` is not (H, W, 3) uint8 with at least one pixel, or `color` is unknown.
    """

    image: NDArray[np.uint8]
    color: Literal["bgr", "rgb"] = "bgr"
    index: int = 0
    t_capture_ns: int = 0
    source: str = ""
    position_s: float | None = None

    def __post_init__(self) -> None:
        image, got = self.image, type(self.image).__name__
        if isinstance(image, np.ndarray):
            got = f"{image.dtype} {image.shape}"
            fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        if not isinstance(image, np.ndarray) or not fits or image.size == 0:
            raise ImageError(
                f"image {self.source or self.index} cannot be used",
                got=got,
                expected="a uint8 array of shape (height, width, 3)",
                fix="Read it as cv2.imread does, or pass a path",
            )
        if self.color not in ("bgr", "rgb"):
            raise ImageError(
                f"image {self.source or self.index} cannot be used",
                got=f"color={self.color!r}",
                expected="'bgr' or 'rgb'",
                fix="Name the channel order of the array; cv2.imread gives bgr",
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.image.shape[:2]
        return height, width
