"""Augmentation of images and boxes: mosaic, affine transformation, color."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation", "Sample", "augment", "mosaic", "place", "recolor"]

_PAD = 114
_MIN_SIDE_PX = 2.0
_MIN_SEEN = 0.1
"""Minimum share of a box's area that remains after clipping."""


class Sample(NamedTuple):
    """An image and its objects.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        class_ids: (N,) int32.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the augmentation.

    Attributes:
        zoom: largest relative change of size.
        shift: largest shift of the centre, relative to the side.
        color: largest relative change of hue, saturation and value.
        any_way_up: also rotate by 90 degrees and flip vertically.
    """

    zoom: float = 0.5
    shift: float = 0.1
    color: tuple[float, float, float] = (0.015, 0.7, 0.4)
    any_way_up: bool = False


def augment(
    pieces: Sequence[Sample],
    full: int,
    side: int,
    how: Augmentation,
    rng: np.random.Generator,
) -> Sample:
    """Create a training sample of side x side pixels from one sample, or a mosaic of four.

    Args:
        pieces: one or four samples, at most `full` pixels in height and width.
        full: side of the input that the samples were scaled to, pixels.
        side: of the result, pixels.
        how: strengths of the augmentation.
        rng: source of all random choices.
    """
    canvas = mosaic(pieces, full, rng) if len(pieces) > 1 else pieces[0]
    linear = _linear(how, rng) * (side / full)
    placed = place(canvas, linear, rng.uniform(-how.shift, how.shift, 2), side)
    return placed._replace(image=recolor(placed.image, rng.uniform(-1, 1, 3) * how.color))


def mosaic(pieces: Sequence[Sample], side: int, rng: np.random.Generator) -> Sample:
    """Combine four samples around a random point of a canvas, cut at its border.

    Args:
        pieces: four samples.
        side: half the side of the canvas, pixels.
        rng: chooses the point.
    """
    canvas = np.full((2 * side, 2 * side, 3), _PAD, np.uint8)
    x, y = rng.integers(side // 2, side + side // 2 + 1, 2).tolist()
    boxes = []
    for index, (image, own, _) in enumerate(pieces):
        height, width = image.shape[:2]
        left = x if index % 2 else x - width
        top = y if index >= 2 else y - height
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + width, 2 * side), min(top + height, 2 * side)
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
        boxes.append(own + np.array([left, top, left, top], np.float32))
    class_ids = np.concatenate([piece.class_ids for piece in pieces])
    return clip(Sample(canvas, np.concatenate(boxes), class_ids))


def place(
    sample: Sample, linear: NDArray[np.float64], shift: NDArray[np.float64], side: int
) -> Sample:
    """Transform a sample by a linear map about its centre, cut to side x side pixels.

    Args:
        sample: of any size.
        linear: (2, 2) with one entry in each row and column, so that boxes stay axis-aligned.
        shift: (2,) of the centre, relative to the side.
        side: of the result, pixels.
    """
    height, width = sample.image.shape[:2]
    offset = (0.5 + shift) * side - linear @ (width / 2, height / 2)
    # The origin is the centre of the first pixel in OpenCV, its edge for boxes.
    to_pixels = offset + linear @ (0.5, 0.5) - 0.5
    matrix = np.column_stack([linear, to_pixels])
    image = cv2.warpAffine(sample.image, matrix, (side, side), borderValue=(_PAD, _PAD, _PAD))
    first, second = (sample.boxes[:, k : k + 2] @ linear.T + offset for k in (0, 2))
    boxes = np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)
    moved = Sample(np.asarray(image, np.uint8), boxes.astype(np.float32), sample.class_ids)
    return clip(moved)


def clip(sample: Sample) -> Sample:
    """Clip boxes to the image; drop boxes of which too little remains."""
    height, width = sample.image.shape[:2]
    cut = sample.boxes.clip(0, np.array([width, height, width, height], np.float32))
    sides, before = cut[:, 2:] - cut[:, :2], sample.boxes[:, 2:] - sample.boxes[:, :2]
    seen = sides.prod(1) >= _MIN_SEEN * before.prod(1)
    kept = seen & (sides.min(1, initial=np.inf) >= _MIN_SIDE_PX)
    return Sample(sample.image, cut[kept], sample.class_ids[kept])


def recolor(image: NDArray[np.uint8], change: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply hue, saturation and value by 1 + change; hue wraps around.

    Args:
        image: (H, W, 3) uint8, BGR.
        change: (3,) of hue, saturation and value.
    """
    levels = np.arange(256)[:, None] * (1 + change)
    # The hue of uint8 images has 180 levels in OpenCV.
    table = np.column_stack([levels[:, 0] % 180, levels[:, 1:].clip(0, 255)]).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    changed = cv2.LUT(hsv, table[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR), np.uint8)


def _linear(how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random scale and flip, with `any_way_up` also a rotation by 90 degrees."""
    flips = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    linear = np.diag([flips[0], flips[1] if how.any_way_up else 1.0])
    if how.any_way_up and rng.random() < 0.5:
        linear = linear[::-1]
    return linear * rng.uniform(1 - how.zoom, 1 + how.zoom)
