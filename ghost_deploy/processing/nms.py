"""Greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.processing.boxes import iou_matrix

__all__ = ["MAX_NMS", "nms"]

MAX_NMS = 30_000
"""Candidates beyond this many, by descending score, are dropped (as Ultralytics does)."""

_CLASS_OFFSET = np.float32(7680)
"""Pixels between the boxes of two classes, so that they never overlap (as Ultralytics does)."""

_BLOCK = 128
"""Boxes compared at once: few NumPy calls for few boxes, no square matrix for many."""


def nms(
    xyxy: NDArray[np.float32],
    score: NDArray[np.float32],
    class_id: NDArray[np.int32],
    iou: float,
    max_det: int,
    *,
    agnostic: bool = False,
) -> NDArray[np.intp]:
    """Keep the best of boxes that overlap.

    In descending score, a box is kept when its IoU with every box kept before is at most `iou`,
    until `max_det` are kept. IoU and the comparison are float32. There is no time limit, and no
    box is dropped for its size; a box without area overlaps nothing.

    Args:
        xyxy: (N, 4).
        score: (N,); equal scores keep the order in which they are given.
        class_id: (N,) from 0; boxes of different classes do not suppress each other.
        iou: threshold, 0 to 1.
        max_det: most boxes kept.
        agnostic: let classes suppress each other.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = np.argsort(-score, kind="stable")[:MAX_NMS]
    boxes = xyxy[order]
    if not agnostic:
        boxes = boxes + (class_id[order].astype(np.float32) * _CLASS_OFFSET)[:, None]
    threshold = np.float32(iou)
    kept = np.empty(0, np.intp)
    for start in range(0, len(boxes), _BLOCK):
        rank = np.arange(start, min(start + _BLOCK, len(boxes)))
        free = (iou_matrix(boxes[rank], boxes[kept]) <= threshold).all(axis=1)
        rank = rank[free]
        kept = np.concatenate((kept, rank[_greedy(boxes[rank], threshold)]))
        if len(kept) >= max_det:
            break
    return order[kept[:max_det]]


def _greedy(boxes: NDArray[np.float32], threshold: np.float32) -> NDArray[np.bool_]:
    """Which of a few boxes, best first, no better kept one overlaps too much."""
    compatible = iou_matrix(boxes, boxes) <= threshold
    kept = np.zeros(len(boxes), np.bool_)
    alive = np.ones(len(boxes), np.bool_)
    for row in range(len(boxes)):
        if alive[row]:
            kept[row] = True
            alive &= compatible[row]
    return kept
