"""Letterbox: resize with the aspect ratio kept and a constant border, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ShapeError


@dataclass(frozen=True)
class Letterbox:
    """Position of an image inside the model's input. Create it with `Letterbox.fit`.

    The arithmetic is that of Ultralytics 8.4: sides are rounded half to even, an odd border is
    one pixel thinner at the top and left, and the inverse divides each axis by its own gain
    (rounded side / source side), not by the common one.

    Attributes:
        src_hw: (height, width) of the source image, pixels.
        dst_hw: (height, width) of the model's input, pixels.
        new_hw: (height, width) of the resized image inside it, pixels, at least 1.
        pad_tl: (top, left) border, pixels.

    Example:
        >>> box = Letterbox.fit((480, 640), (640, 640))
        >>> box.new_hw, box.pad_tl
        ((480, 640), (80, 0))
        >>> box.invert(box.forward(np.array([[1, 2, 3, 4]], np.float32))).tolist()
        [[1.0, 2.0, 3.0, 4.0]]
    """

    src_hw: tuple[int, int]
    dst_hw: tuple[int, int]
    new_hw: tuple[int, int]
    pad_tl: tuple[int, int]

    @classmethod
    def fit(cls, src_hw: tuple[int, int], dst_hw: tuple[int, int]) -> Letterbox:
        """Scale `src_hw` to the largest size inside `dst_hw`, and centre it.

        Args:
            src_hw: (height, width) of the source image, pixels.
            dst_hw: (height, width) of the model's input, pixels.

        Raises:
            ShapeError: a side is smaller than one pixel.
        """
        if min(*src_hw, *dst_hw) < 1:
            raise ShapeError(
                "an image side is smaller than one pixel",
                got=f"source {src_hw}, input {dst_hw}",
                fix="Pass (height, width), both at least 1",
            )
        gain = min(dst_hw[0] / src_hw[0], dst_hw[1] / src_hw[1])
        new_h, new_w = (max(round(side * gain), 1) for side in src_hw)
        # The 0.1 decides which side gets the odd pixel without a rounding tie.
        top, left = (
            round((dst - new) / 2 - 0.1) for dst, new in zip(dst_hw, (new_h, new_w), strict=True)
        )
        return cls(src_hw, dst_hw, (new_h, new_w), (top, left))

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the input that the image occupies."""
        (height, width), (top, left) = self.new_hw, self.pad_tl
        return slice(top, top + height), slice(left, left + width)

    def scale(
        self, image: NDArray[np.uint8], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Resize the image bilinearly, without the border.

        Args:
            image: (H, W, 3) uint8 of size `src_hw`.
            out: (h, w, 3) uint8 of size `new_hw`, a buffer that may be used.

        Returns:
            (h, w, 3) uint8 of size `new_hw`: `image` itself if its size does not change, else
            `out` or a new array.

        Raises:
            ShapeError: `image` is of another size.
        """
        if image.shape[:2] != self.src_hw:
            raise ShapeError(
                "the image is not the one this letterbox was fitted to",
                got=image.shape[:2],
                expected=self.src_hw,
                fix="Use Letterbox.fit(image.shape[:2], ...)",
            )
        if self.new_hw == self.src_hw:
            return image
        size_wh = self.new_hw[::-1]
        scaled: NDArray[Any] = cv2.resize(image, size_wh, dst=out, interpolation=cv2.INTER_LINEAR)
        return scaled

    def apply(self, image: NDArray[np.uint8], pad_value: int = 114) -> NDArray[np.uint8]:
        """Resize the image and add the border.

        Args:
            image: (H, W, 3) uint8 of size `src_hw`.
            pad_value: grey level of the border.

        Returns:
            (h, w, 3) uint8 of size `dst_hw`.

        Raises:
            ShapeError: `image` is of another size.
        """
        canvas = np.full((*self.dst_hw, 3), pad_value, np.uint8)
        canvas[self.inside] = self.scale(image)
        return canvas

    def forward(self, xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Map boxes from source to input pixels, (N, 4) xyxy to (N, 4) float32; not clipped."""
        gain_xy, pad_xy = self._gain_pad()
        boxes = _corners(xyxy) * gain_xy
        boxes += pad_xy
        return boxes

    def invert(self, xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Map boxes from input pixels to source pixels, (N, 4) xyxy to (N, 4) float32.

        They are clipped to [0, width] x [0, height].
        """
        gain_xy, pad_xy = self._gain_pad()
        source = _corners(xyxy) - pad_xy
        source /= gain_xy
        height, width = self.src_hw
        limit = np.array((width, height, width, height), np.float32)
        np.maximum(source, np.float32(0), out=source)
        np.minimum(source, limit, out=source)
        return source

    def _gain_pad(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gain and border for x1, y1, x2, y2."""
        gain_y, gain_x = (new / src for new, src in zip(self.new_hw, self.src_hw, strict=True))
        top, left = self.pad_tl
        gain = np.array((gain_x, gain_y, gain_x, gain_y), np.float32)
        return gain, np.array((left, top, left, top), np.float32)


def _corners(xyxy: NDArray[Any]) -> NDArray[np.float32]:
    boxes = np.asarray(xyxy, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(
            "boxes have the wrong shape",
            got=boxes.shape,
            expected="(N, 4)",
            fix="Pass x1 y1 x2 y2, one row a box",
        )
    return boxes
