"""Pairs the boxes of two sides."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.processing.boxes import iou_matrix

_PAIR_IOU = 0.5
"""Boxes of one class are the same object from this IoU on; whether they agree is judged later."""

Pairs: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]
"""Indices into one side, indices into the other, and IoU, (P,) each."""


def pair_detections(a: Detections, b: Detections) -> Pairs:
    """`pair_boxes` of two sets of detections."""
    return pair_boxes(a.xyxy, a.score, a.class_id, b.xyxy, b.score, b.class_id)


def pair_boxes(
    xyxy_a: NDArray[Any],
    score_a: NDArray[Any],
    class_a: NDArray[Any],
    xyxy_b: NDArray[Any],
    score_b: NDArray[Any],
    class_b: NDArray[Any],
) -> Pairs:
    """Pair boxes of the same class one to one, from an IoU of 0.5 on.

    Greedy: the pair with the largest IoU first and, among pairs within 0.01 of IoU, the closest
    scores. After NMS, boxes of one side are apart, so this is what an optimal assignment would
    give; where a head leaves duplicates, the scores separate them.

    Args:
        xyxy_a, xyxy_b: (N, 4) and (M, 4).
        score_a, score_b: (N,) and (M,).
        class_a, class_b: (N,) and (M,).

    Returns:
        Indices into a, indices into b and IoU, (P,) each.
    """
    iou = np.asarray(iou_matrix(_thicken(xyxy_a), _thicken(xyxy_b)), np.float64)
    possible = (iou >= _PAIR_IOU) & (class_a[:, None] == class_b[None])
    first, second = np.nonzero(possible)
    overlap = iou[first, second]
    apart = np.abs(score_a[first].astype(np.float64) - score_b[second])
    order = np.lexsort((-overlap, apart, -np.round(overlap, 2)))
    free_a, free_b = np.ones(len(xyxy_a), np.bool_), np.ones(len(xyxy_b), np.bool_)
    taken = []
    for edge in order.tolist():
        if free_a[first[edge]] and free_b[second[edge]]:
            free_a[first[edge]] = free_b[second[edge]] = False
            taken.append(edge)
    return first[taken], second[taken], overlap[taken]


def _thicken(xyxy: NDArray[Any]) -> NDArray[np.float32]:
    """The boxes with every side grown to at least one pixel, about its middle.

    Clipping at the image border leaves slivers whose IoU is undefined or meaningless.
    """
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    lack = np.clip(1.0 - (boxes[:, 2:] - boxes[:, :2]), 0.0, None) / 2
    return np.concatenate([boxes[:, :2] - lack, boxes[:, 2:] + lack], axis=1).astype(np.float32)
