"""Average precision from matches: COCO's, also of resampled images, and Ultralytics'.

`coco_ap` equals pycocotools' accumulation and is fast enough to be repeated for a bootstrap:
precision can only rise where an object is found, so the curve is computed at those detections
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.judge.accuracy.matching import ImageMatches, Matches

_RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
_THRESHOLDS = 10
_TINY = np.spacing(1)  # as in pycocotools
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The matches of one class over all I images; D detections, best first, T = 10 thresholds.

    Attributes:
        image: (D,) index of the image of each detection.
        hit: (T, D) bool: it found an object that counts.
        ignored: (T, D) bool: it counts neither as found nor as false.
        objects: (I,) number of objects that count.
        score: (D,) descending; empty where only the order is known.
    """

    image: NDArray[np.intp]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]
    score: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def class_tables(matches: Sequence[Matches], classes: int) -> list[ClassTable]:
    """One table a class from the matches of all images, in their order."""
    return [_table([image[k] for image in matches]) for k in range(classes)]


def _table(column: Sequence[ImageMatches | None]) -> ClassTable:
    there = [(i, item) for i, item in enumerate(column) if item is not None]
    score = np.concatenate([item.score for _, item in there] or [np.zeros(0)])
    order = np.argsort(-score, kind="stable")
    nothing = [np.zeros((_THRESHOLDS, 0), bool)]
    found = np.concatenate(nothing + [item.found for _, item in there], axis=1)
    ignored = np.concatenate(nothing + [item.ignored for _, item in there], axis=1)
    image = np.repeat([i for i, _ in there], [len(item.score) for _, item in there])
    objects = np.array([0 if item is None else item.objects for item in column], np.int64)
    return ClassTable(
        image=image.astype(np.intp)[order],
        hit=(found & ~ignored)[:, order],
        ignored=ignored[:, order],
        objects=objects,
        score=score[order],
    )


def coco_classes(tables: Sequence[ClassTable], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """COCO's average precision of K classes, mean over thresholds, of weighted images.

    Args:
        tables: one a class.
        weights: (B, I) how many times each image occurs in each of B samples.

    Returns:
        (B, K) AP50-95, 0 to 1; NaN where a sample has no object of the class.
    """
    step = max(1, _NUMBERS_AT_ONCE // max([1, *(len(table.image) for table in tables)]))
    parts = []
    for start in range(0, len(weights), step):
        part = weights[start : start + step]
        parts.append(np.stack([coco_ap(table, part).mean(axis=1) for table in tables], axis=1))
    return np.concatenate(parts)


def coco_map(classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """COCO's mAP from what `coco_classes` gives: (B,), NaN for a sample without any object."""
    counted = ~np.isnan(classes)
    total, number = np.where(counted, classes, 0.0).sum(axis=1), counted.sum(axis=1)
    result: NDArray[np.float64] = np.where(number, total / np.maximum(number, 1), np.nan)
    return result


def coco_ap(table: ClassTable, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """COCO's average precision of one class at each IoU threshold, of weighted images.

    The same as repeating an image's detections and objects as often as its weight says: within
    a run of equal detections precision and recall move towards the end of the run, and only
    there the curve's envelope can change.

    Args:
        table: of the class.
        weights: (B, I) how many times each image occurs in each of B samples.

    Returns:
        (B, T), 0 to 1; NaN where a sample has no object of the class.
    """
    objects = weights @ table.objects
    copies = weights[:, table.image]
    counted = np.cumsum(copies, axis=1)
    result = np.full((len(weights), _THRESHOLDS), np.nan)
    usable = objects > 0
    for t in range(_THRESHOLDS):
        hits, ignored = np.flatnonzero(table.hit[t]), np.flatnonzero(table.ignored[t])
        seen = counted[:, hits]
        if ignored.size:
            before = np.cumsum(copies[:, ignored], axis=1)
            before = np.concatenate((np.zeros_like(before[:, :1]), before), axis=1)
            seen = seen - before[:, np.searchsorted(ignored, hits)]
        found = np.cumsum(copies[:, hits], axis=1)
        ap = _interpolated(found, seen, np.maximum(objects, 1)[:, None])
        result[usable, t] = ap[usable]
    return result


def _interpolated(
    found: NDArray[np.int64], seen: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean, over 101 recalls, of the best precision at that recall or more, (B, H) to (B,)."""
    precision = found / (seen + _TINY)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # How many of the 101 recalls each hit is the first to reach.
    reached = np.searchsorted(_RECALLS, found / objects, side="right")
    new = np.diff(reached, axis=1, prepend=0)
    mean: NDArray[np.float64] = (envelope * new).sum(axis=1) / len(_RECALLS)
    return mean


def ultralytics_map(tables: Sequence[ClassTable]) -> NDArray[np.float64]:
    """Ultralytics' mean average precision at each IoU threshold, over classes with objects.

    The curve begins at recall 0 with precision 1 and falls to 0 after the largest recall; its
    envelope is interpolated linearly at 101 recalls and integrated by the trapezoid rule
    (Ultralytics 8.4.190, utils/metrics.py). COCO instead takes the best precision at each
    recall or more, and the mean of 101.

    Returns:
        (T,), 0 to 1; NaN where there is no object at all.
    """
    each = [[_ultralytics_ap(t, k) for k in range(_THRESHOLDS)] for t in tables if t.objects.any()]
    return np.mean(each, axis=0) if each else np.full(_THRESHOLDS, np.nan)


def _ultralytics_ap(table: ClassTable, threshold: int) -> float:
    hit = table.hit[threshold][~table.ignored[threshold]]
    if not hit.size:
        return 0.0
    found = np.cumsum(hit)
    recall = found / table.objects.sum()
    precision = found / np.arange(1, len(hit) + 1)
    curve_x = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    curve_y = np.concatenate(([1.0], precision, [0.0, 0.0]))
    envelope = np.maximum.accumulate(curve_y[::-1])[::-1]
    height = np.interp(_RECALLS, curve_x, envelope)
    return float((height[1:] + height[:-1]).sum() / 2 / (len(_RECALLS) - 1))
