"""What the rows of an NMS inside a graph are compared with.

NMS turns a difference in the last digit into another choice between two overlapping boxes; the
host does the same behind a plain graph. So each row is compared with the box of the reference that
it comes from, whether NMS kept that one or its neighbor. A box that the reference keeps and the
graph does not counts as missing, unless a row overlaps it nearly as much as NMS removes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.boxes import iou_matrix
from ghost_deploy.processing.embedded_nms import embedded_nms, plain_decoder

_NEAR_LIMIT = 0.05
"""An overlap that is this far below the limit of NMS may be above it in another arithmetic."""

_FLOOR = 1e-3
"""Boxes of the reference with lower scores are not looked for."""


def rows_to_compare(
    target: NDArray[Any], rows: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The reference's rows and the graph's, of one length.

    Args:
        target: of the reference, before NMS, as its decoder gives it.
        rows: (`max_det`, 6) of the graph.
        spec: of the graph.
        size_hw: (height, width) of the input, pixels.
    """
    used = rows[rows[:, 4] > 0] if np.isfinite(rows).all() else rows[:0]
    if not len(used):
        return embedded_nms(target, spec, size_hw), rows
    origin = _origins(target, used, spec, size_hw)
    kept = embedded_nms(target, spec, size_hw)
    kept = kept[kept[:, 4] > 0]
    covered = _overlap(kept, used, spec) > spec.thresholds.iou - _NEAR_LIMIT
    missing = kept[~covered.any(axis=1)]
    expected = np.concatenate([origin, missing])
    return expected, np.concatenate([used, np.zeros((len(missing), 6), rows.dtype)])


def _origins(
    target: NDArray[Any], used: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """For each row the nearest box of the reference by place and score; zeros without any."""
    found = plain_decoder(spec)(target, spec, size_hw, _FLOOR, False)
    boxes = np.column_stack((found.xyxy, found.score, found.class_id)).astype(np.float32)
    boxes = np.concatenate([boxes, np.zeros((1, 6), np.float32)])
    near = iou_matrix(_corners(used), _corners(boxes)) - np.abs(used[:, 4:5] - boxes[None, :, 4])
    near[used[:, 5:] != boxes[None, :, 5]] = -np.inf
    near[:, -1] = -1
    return np.asarray(boxes[near.argmax(axis=1)])


def _overlap(a: NDArray[Any], b: NDArray[Any], spec: ModelSpec) -> NDArray[np.float32]:
    """IoU of boxes that NMS compares, (N, M); 0 of others."""
    iou = iou_matrix(_corners(a), _corners(b))
    if not spec.thresholds.agnostic:
        iou[a[:, 5:] != b[None, :, 5]] = 0
    return iou


def _corners(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows[:, :4], np.float32)
