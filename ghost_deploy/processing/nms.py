"""Greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.processing.boxes import iou_matrix

MAX_NMS = 30_000
"""Maximum number of candidates, by descending score (as in Ultralytics)."""

_CLASS_OFFSET = np.float32(7680)
"""Offset in pixels between the boxes of two classes, which then never overlap (as in
Ultralytics)."""

_BLOCK = 128
"""Boxes compared at once: few NumPy calls for few boxes, no N x N matrix for many."""


def nms(
    xyxy: NDArray[np.float32],
    score: NDArray[np.float32],
    class_id: NDArray[np.int32],
    iou: float,
    max_det: int,
    *,
    agnostic: bool = False,
) -> NDArray[np.intp]:
    """Non-maximum suppression: keep the best of overlapping boxes.

    In descending score, a box is kept if its IoU with all boxes kept before is at most `iou`,
    until `max_det` are kept. IoU and comparison are float32. There is no time limit and no size
    limit; a box without area overlaps no other.

    Args:
        xyxy: (N, 4) float32, pixels.
        score: (N,) float32; equal scores keep their order.
        class_id: (N,) int32 from 0; boxes of different classes do not suppress each other.
        iou: threshold, 0 to 1.
        max_det: maximum number of boxes.
        agnostic: let boxes of different classes suppress each other.

    Returns:
        (K,) indices of the boxes kept, best first.
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
    """NMS of a few boxes (N, 4), best first; (N,) bool."""
    compatible = iou_matrix(boxes, boxes) <= threshold
    kept = np.zeros(len(boxes), np.bool_)
    alive = np.ones(len(boxes), np.bool_)
    for row in range(len(boxes)):
        if alive[row]:
            kept[row] = True
            alive &= compatible[row]
    return kept
