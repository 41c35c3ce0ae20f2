"""Pre-processing: from images to the model's input tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ShapeError
from ghost_deploy.core.image_input import ImageInput
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing.images import as_bgr
from ghost_deploy.processing.letterbox import Letterbox


def pixel_table(spec: InputSpec) -> NDArray[np.float32]:
    """Return the tensor value of each pixel value, (3, 256) float32, a row per channel.

    Computed in float32 as (pixel / divisor - mean) / std, rounded at each step.
    """
    pixel = np.arange(256, dtype=np.float32) / np.float32(spec.divisor)
    mean, std = (np.array(values, np.float32)[:, None] for values in (spec.mean, spec.std))
    table: NDArray[np.float32] = (pixel - mean) / std
    return table


def convert_input(tensor: NDArray[Any], have: InputSpec, want: InputSpec) -> NDArray[Any]:
    """Convert an input tensor to the form of another graph.

    Exact in both directions: no two pixel values have the same tensor value.

    Args:
        tensor: (B, 3, H, W) float32 or (B, H, W, 3) uint8, as described by `have`.
        have, want: descriptions that differ only in `layout` and `dtype`.

    Returns:
        The images as described by `want`; `tensor` itself if the forms are equal.
    """
    if have.dtype == want.dtype:
        return tensor
    planes = _planes(have)
    if want.embedded:
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (have.mean, have.std))
        pixels = np.rint((tensor * std + mean) * np.float32(have.divisor))
        return np.ascontiguousarray(pixels[:, planes].transpose(0, 2, 3, 1)).astype(np.uint8)
    table = pixel_table(want)
    channels = [table[i][tensor[..., plane]] for i, plane in enumerate(_planes(want))]
    return np.stack(channels, axis=1)


class Preprocessor:
    """Letterboxes images into one tensor, as described by an `InputSpec`.

    Ownership: the tensor belongs to the preprocessor and is valid until its next call; copy what
    you keep. Images are not modified. Not thread-safe.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        # A table is exact for any mean and std, and measured faster than arithmetic.
        self._table = pixel_table(spec)
        self._border: Any = self._table[:, spec.pad_value, None, None]
        if spec.embedded:
            self._border = np.uint8(spec.pad_value)
        self._tensor = np.empty((0, 0, 0, 0), spec.dtype)
        self._placed: list[tuple[slice, slice] | None] = []
        self._scratch = np.empty((2, 0), np.uint8)

    def __call__(
        self, images: Sequence[ImageInput], size_hw: tuple[int, int] | None = None
    ) -> tuple[NDArray[Any], list[Letterbox]]:
        """Preprocess a batch.

        Args:
            images: 1 to `spec.batch[1]` images, see `as_bgr`.
            size_hw: (height, width) of the tensor in pixels; default: `spec.size_hw`.

        Returns:
            The tensor, (B, 3, H, W) float32 or (B, H, W, 3) uint8, and the letterbox of each
            image. B is the number of images, at least `spec.batch[0]`; rows without an image
            hold the pad value.

        Raises:
            ImageError: an image cannot be read or used.
            ShapeError: no images, too many, or a size that the graph does not accept.
        """
        size = size_hw or self._spec.size_hw
        self._check(len(images), size)
        arrays = [as_bgr(image) for image in images]
        letterboxes = [Letterbox.fit((a.shape[0], a.shape[1]), size) for a in arrays]
        self._reserve(max(len(images), self._spec.batch[0]), size)
        for row, (array, box) in enumerate(zip(arrays, letterboxes, strict=True)):
            self._fill(row, array, box)
        for row in range(len(images), len(self._tensor)):
            self._place(row, None)
        return self._tensor, letterboxes

    def _check(self, count: int, size_hw: tuple[int, int]) -> None:
        spec = self._spec
        if not 1 <= count <= spec.batch[1]:
            raise ShapeError(
                "this number of images cannot be one batch",
                got=count,
                expected=f"1 to {spec.batch[1]}",
                fix="Split the images, or export the model again with --dynamic",
            )
        ok = all(
            low <= side <= high and side % spec.stride == 0
            for low, side, high in zip(spec.min_hw, size_hw, spec.max_hw, strict=True)
        )
        if not ok:
            raise ShapeError(
                "the model does not accept this input size (height, width)",
                got=size_hw,
                expected=f"multiples of {spec.stride} from {spec.min_hw} to {spec.max_hw}",
                fix="Choose such a size, or export the model again with --dynamic",
            )

    def _reserve(self, rows: int, size_hw: tuple[int, int]) -> None:
        shape = self._spec.shape(rows, size_hw)
        if self._tensor.shape != shape:
            self._tensor = np.empty(shape, self._spec.dtype)
            self._tensor[:] = self._border
            self._placed = [None] * rows
            self._scratch = np.empty((2, 3 * size_hw[0] * size_hw[1]), np.uint8)

    def _place(self, row: int, inside: tuple[slice, slice] | None) -> None:
        """Fill a row with the border, except for `inside`."""
        if self._placed[row] != inside:
            self._tensor[row] = self._border
            self._placed[row] = inside

    def _fill(self, row: int, image: NDArray[np.uint8], box: Letterbox) -> None:
        self._place(row, box.inside)
        rows, columns = box.inside
        if self._spec.embedded:
            target = self._tensor[row, rows, columns]
            scaled = box.scale(image, target)
            if scaled is not target:
                np.copyto(target, scaled)
            return
        height, width = box.new_hw
        pixels = 3 * height * width
        scaled = box.scale(image, self._scratch[0, :pixels].reshape(height, width, 3))
        planes = self._scratch[1, :pixels].reshape(3, height, width)
        cv2.split(scaled, list(planes))
        target = self._tensor[row, :, rows, columns]
        for channel, plane in enumerate(_planes(self._spec)):
            cv2.LUT(planes[plane], self._table[channel], dst=target[channel])


def _planes(spec: InputSpec) -> tuple[int, int, int]:
    """The plane of a BGR image for each channel of the tensor."""
    return (2, 1, 0) if spec.color == "rgb" else (0, 1, 2)
