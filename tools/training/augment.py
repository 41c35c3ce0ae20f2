"""What training does to pictures and their boxes: mosaic, placing, colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation", "Picture", "augment", "mosaic", "place", "recolour"]

_PAD = 114
_MIN_SIDE_PX = 2.0
_MIN_SEEN = 0.1
"""Of a box's area; one of which less is left after clipping is dropped."""


class Picture(NamedTuple):
    """A picture and its objects.

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
    """How strongly pictures are changed.

    Attributes:
        zoom: largest change of the size, share of it, either way.
        shift: of the picture's centre, share of the side, either way.
        colour: largest relative change of hue, saturation and value.
        any_way_up: whether a picture may also be turned by quarters and flipped vertically.
    """

    zoom: float = 0.5
    shift: float = 0.1
    colour: tuple[float, float, float] = (0.015, 0.7, 0.4)
    any_way_up: bool = False


def augment(
    pieces: Sequence[Picture],
    full: int,
    side: int,
    how: Augmentation,
    rng: np.random.Generator,
) -> Picture:
    """One training picture, side x side, from one piece, or from four as a mosaic.

    Args:
        pieces: one or four pictures no larger than `full`.
        full: side of the input that the pieces were scaled for, pixels.
        side: of the result, pixels.
        how: strengths.
        rng: chooses everything.
    """
    canvas = mosaic(pieces, full, rng) if len(pieces) > 1 else pieces[0]
    linear = _linear(how, rng) * (side / full)
    placed = place(canvas, linear, rng.uniform(-how.shift, how.shift, 2), side)
    return placed._replace(image=recolour(placed.image, rng.uniform(-1, 1, 3) * how.colour))


def mosaic(pieces: Sequence[Picture], side: int, rng: np.random.Generator) -> Picture:
    """Four pictures around a random point of a canvas, 2 side x 2 side, cut at its border."""
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
    return clip(Picture(canvas, np.concatenate(boxes), class_ids))


def place(
    picture: Picture, linear: NDArray[np.float64], shift: NDArray[np.float64], side: int
) -> Picture:
    """The picture under a linear map about its centre, cut to side x side.

    Args:
        picture: any size.
        linear: (2, 2) with one number in each row and column: axes stay axes.
        shift: (2,) of the centre from the middle of the result, share of the side.
        side: pixels.
    """
    height, width = picture.image.shape[:2]
    offset = (0.5 + shift) * side - linear @ (width / 2, height / 2)
    # OpenCV counts from the middle of the first pixel, boxes from its edge.
    to_pixels = offset + linear @ (0.5, 0.5) - 0.5
    matrix = np.column_stack([linear, to_pixels])
    image = cv2.warpAffine(picture.image, matrix, (side, side), borderValue=(_PAD, _PAD, _PAD))
    first, second = (picture.boxes[:, k : k + 2] @ linear.T + offset for k in (0, 2))
    boxes = np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)
    moved = Picture(np.asarray(image, np.uint8), boxes.astype(np.float32), picture.class_ids)
    return clip(moved)


def clip(picture: Picture) -> Picture:
    """Cut boxes at the picture's border; drop those of which too little is left."""
    height, width = picture.image.shape[:2]
    cut = picture.boxes.clip(0, np.array([width, height, width, height], np.float32))
    sides, before = cut[:, 2:] - cut[:, :2], picture.boxes[:, 2:] - picture.boxes[:, :2]
    seen = sides.prod(1) >= _MIN_SEEN * before.prod(1)
    kept = seen & (sides.min(1, initial=np.inf) >= _MIN_SIDE_PX)
    return Picture(picture.image, cut[kept], picture.class_ids[kept])


def recolour(image: NDArray[np.uint8], change: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image with hue, saturation and value multiplied by 1 + change; hue goes round."""
    levels = np.arange(256)[:, None] * (1 + change)
    # OpenCV's hue of uint8 images has 180 levels.
    table = np.column_stack([levels[:, 0] % 180, levels[:, 1:].clip(0, 255)]).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    changed = cv2.LUT(hsv, table[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR), np.uint8)


def _linear(how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random gain and flip, and a quarter turn where there is no way up."""
    flips = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    linear = np.diag([flips[0], flips[1] if how.any_way_up else 1.0])
    if how.any_way_up and rng.random() < 0.5:
        linear = linear[::-1]
    return linear * rng.uniform(1 - how.zoom, 1 + how.zoom)
