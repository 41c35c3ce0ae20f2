"""Detection in slices of an image, for objects that are small in the whole of it.

The whole image is run too, for objects larger than a slice. Boxes of all views are then merged, in
pixels of the image:

1. Boxes that touch an inner border of their slice are cut, perhaps parts of objects. All others,
   best first, are kept if no better one of another view overlaps them by an IoU above
   `SAME_OBJECT`, or above the limit of NMS where that is lower. Within a view NMS has decided.
2. A cut box of which more than `PART` lies inside a box of another view that was kept is a part of
   that object and is dropped. Of cut boxes that remain, those that share more than `PART` of the
   smaller one are joined to the box around both.

Boxes of different classes are compared only where NMS is class-agnostic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import Thresholds

SAME_OBJECT = 0.5
"""Two views rarely give the same box of a small object; half of the union is the same object."""

PART = 0.5
"""Share of a cut box, by area, that lies inside another one."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the image."""


@dataclass(frozen=True)
class Slicing:
    """Square slices that overlap.

    Attributes:
        side: of a slice in pixels of the image, from 32.
        overlap: share of the side, 0 to 0.9, that neighboring slices have in common at least.

    Raises:
        UsageError: a value out of range.
    """

    side: int
    overlap: float = 0.2

    def __post_init__(self) -> None:
        checks: tuple[tuple[bool, str, object, str], ...] = (
            (type(self.side) is int and self.side >= 32, "slices", self.side, "32 pixels or more"),
            (0 <= self.overlap <= 0.9, "overlap", self.overlap, "0 to 0.9"),
        )
        for ok, what, got, expected in checks:
            if not ok:
                raise UsageError(
                    f"{what} cannot be that", got=got, expected=expected, fix="Choose another value"
                )

    def __str__(self) -> str:
        return f"slices of {self.side} px with overlap {self.overlap:g}, and the whole image"

    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        """The whole image, then its slices row by row; the whole alone if it is one slice.

        A slice that would reach over the border is moved back inside; in a direction in which the
        image is smaller than a slice, the slice is as long as the image.

        Args:
            size_hw: (height, width) of the image, pixels.
        """
        height, width = size_hw
        whole = (0, 0, width, height)
        rows, columns = self._spans(height), self._spans(width)
        slices = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
        return [whole] if slices == [whole] else [whole, *slices]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        """Start and end of each slice along an axis."""
        if length <= self.side:
            return [(0, length)]
        step = max(1, math.floor(self.side * (1 - self.overlap)))
        count = math.ceil((length - self.side) / step) + 1
        starts = [min(i * step, length - self.side) for i in range(count)]
        return [(start, start + self.side) for start in starts]


def detect_in_slices(
    detect: Callable[[Sequence[NDArray[np.uint8]]], list[Detections]],
    image: NDArray[np.uint8],
    slicing: Slicing,
    limits: Thresholds,
    batch: int = 1,
) -> Detections:
    """Detect in the image and in its slices, and merge.

    Args:
        detect: detections of each of at most `batch` images, in pixels of that image.
        image: (H, W, 3) uint8 BGR.
        slicing: how it is divided.
        limits: of NMS: `iou`, `agnostic` and `max_det` hold for the merged detections too.
        batch: largest number of images for `detect`.
    """
    size_hw = image.shape[0], image.shape[1]
    windows = slicing.windows(size_hw)
    views = [image[top:bottom, left:right] for left, top, right, bottom in windows]
    found: list[Detections] = []
    for start in range(0, len(views), batch):
        found += detect(views[start : start + batch])
    return found[0] if len(found) == 1 else merge_views(found, windows, size_hw, limits)


def merge_views(
    found: Sequence[Detections],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    limits: Thresholds,
) -> Detections:
    """Merge the detections of views of one image.

    Args:
        found: of each view, in its pixels.
        windows: of the views; the first is the whole image.
        size_hw: (height, width) of the image, pixels.
        limits: of NMS.

    Returns:
        The `limits.max_det` best, in pixels of the image.
    """
    shifts = [np.array((w[0], w[1], w[0], w[1]), np.float32) for w in windows]
    boxes = np.concatenate([each.xyxy + s for each, s in zip(found, shifts, strict=True)])
    score = np.concatenate([each.score for each in found])
    label = np.concatenate([each.class_id for each in found])
    view = np.repeat(np.arange(len(found)), [len(each) for each in found])
    cut = _is_cut(boxes, np.array(windows)[view].reshape(-1, 4), size_hw)
    group = np.zeros_like(label) if limits.agnostic else label
    merger = _Merger(boxes, group, view)
    best_first = np.argsort(-score, kind="stable")
    for index in best_first[~cut[best_first]]:
        merger.add_whole(index, min(SAME_OBJECT, limits.iou))
    for index in best_first[cut[best_first]]:
        merger.add_cut(index)
    kept = merger.kept
    merged = Detections(merger.boxes, score[kept], label[kept], found[0].class_names)
    return merged[: limits.max_det]


def _is_cut(
    boxes: NDArray[np.float32], windows: NDArray[Any], size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether a box touches a border of its window that is no border of the image.

    Within 1 % of the side, at least 2 pixels: the boxes of cut objects end near the border. A whole
    object there is found whole by the neighbor, so that nothing is lost.
    """
    height, width = size_hw
    sides = (windows[:, 2:] - windows[:, :2]).max(axis=1, initial=0)
    margin = np.maximum(2, 0.01 * sides)[:, None]
    inner = windows != np.array((0, 0, width, height))
    near = np.abs(boxes - windows) <= margin
    result: NDArray[np.bool_] = (near & inner).any(axis=1)
    return result


class _Merger:
    """The boxes that are kept, so far."""

    def __init__(
        self, boxes: NDArray[np.float32], group: NDArray[np.int32], view: NDArray[np.intp]
    ) -> None:
        self._boxes, self._group, self._view = boxes, group, view
        self._kept = np.empty(len(boxes), np.intp)
        self._place = np.empty_like(boxes)
        self._is_cut = np.zeros(len(boxes), np.bool_)
        self._count = 0

    @property
    def kept(self) -> NDArray[np.intp]:
        """Indices of the boxes that are kept."""
        return self._kept[: self._count]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes that are kept, those that were joined as the box around their parts."""
        return self._place[: self._count]

    def add_whole(self, index: int, limit: float) -> None:
        """Keep a box unless it is the same object as a better one of another view."""
        inter, own, other = self._shared(index)
        if not (inter > limit * (own + other - inter)).any():
            self._keep(index, cut=False)

    def add_cut(self, index: int) -> None:
        """Drop a part of a whole object, join it to another part, or keep it."""
        inter, own, other = self._shared(index)
        is_cut = self._is_cut[: self._count]
        if (inter[~is_cut] > PART * own).any():
            return
        share = np.where(is_cut, inter / np.maximum(np.minimum(own, other), 1e-9), 0)
        if not (share > PART).any():
            self._keep(index, cut=True)
            return
        joined, box = self._place[share.argmax()], self._boxes[index]
        joined[:2] = np.minimum(joined[:2], box[:2])
        joined[2:] = np.maximum(joined[2:], box[2:])

    def _keep(self, index: int, *, cut: bool) -> None:
        self._kept[self._count] = index
        self._place[self._count] = self._boxes[index]
        self._is_cut[self._count] = cut
        self._count += 1

    def _shared(self, index: int) -> tuple[NDArray[np.float32], np.float32, NDArray[np.float32]]:
        """Area in common with each box that is kept, 0 with those that it is not compared with;
        its own area, and theirs."""
        box, kept = self._boxes[index], self.kept
        place = self.boxes
        low, high = np.maximum(place[:, :2], box[:2]), np.minimum(place[:, 2:], box[2:])
        inter = np.clip(high - low, 0, None).prod(axis=1)
        rival = (self._group[kept] == self._group[index]) & (self._view[kept] != self._view[index])
        inter[~rival] = 0
        return inter, (box[2:] - box[:2]).prod(), (place[:, 2:] - place[:, :2]).prod(axis=1)
