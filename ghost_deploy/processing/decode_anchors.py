"""Decoders of heads with anchors, of YOLOv5 and YOLOv7."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.boxes import xywh_to_xyxy
from ghost_deploy.processing.candidates import Candidates, above, finite, logit_below, sigmoid


def decode_anchors(
    output: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
    conf: float,
    multi_label: bool,
) -> Candidates:
    """Decode (A, 5 + classes): centre xywh in input pixels, objectness, class probabilities.

    The score is the product of both, which is at most the objectness. Candidates are in the order
    of anchors, then classes. Arguments: see `Decoder`.
    """
    rows = output[likely(output[:, 4], conf)]
    with np.errstate(over="ignore", invalid="ignore"):
        scores = rows[:, 4:5] * rows[:, 5:]
    row, class_id, score = above(scores.T, conf, multi_label)
    xywh = finite(rows[row, :4], "boxes")  # before arithmetic, which would warn
    with np.errstate(over="ignore"):
        xyxy = xywh_to_xyxy(xywh)
    return Candidates(finite(xyxy, "boxes"), score, class_id)


def decode_anchors_raw(
    output: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
    conf: float,
    multi_label: bool,
) -> Candidates:
    """Decode (A, 5 + classes) before the sigmoid.

    Same boxes and order as `decode_anchors` of the decoded form, within float32 rounding.
    Arguments: see `Decoder`.
    """
    kept = likely(output[:, 4], logit_below(conf))
    rows = anchors_from_raw(output[kept], kept, spec, size_hw)
    return decode_anchors(rows, spec, size_hw, conf, multi_label)


def anchors_from_raw(
    logits: NDArray[np.float32],
    anchor: NDArray[np.intp],
    spec: ModelSpec,
    size_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """From the rows of `anchors-raw` to those of `anchors`.

    With s the sigmoid of a value, the centre is (2 s - 0.5 + cell) * stride and the size
    (2 s)^2 * anchor (ultralytics/yolov5, models/yolo.py, Detect.forward).

    Args:
        logits: (N, 5 + classes) float32.
        anchor: (N,) index of the anchor of each row.
        spec: with the strides and anchors of the head.
        size_hw: (height, width) of the model's input, pixels.
    """
    rows = sigmoid(logits)
    corner, stride, size = anchor_grid(size_hw, spec.head.strides, spec.head.anchor_sizes)
    rows[:, :2] = (rows[:, :2] * 2 - np.float32(0.5) + corner[anchor]) * stride[anchor, None]
    rows[:, 2:4] = np.square(rows[:, 2:4] * 2) * size[anchor]
    return rows


@lru_cache(maxsize=16)
def anchor_grid(
    size_hw: tuple[int, int],
    strides: tuple[int, ...],
    sizes: tuple[tuple[tuple[float, float], ...], ...],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return cell, stride and size of all anchors, in the order of `HeadSpec.anchor_sizes`.

    Args:
        size_hw: (height, width) of the model's input, pixels.
        strides: pixels per cell of each level.
        sizes: (width, height) in pixels of the anchors of each level.

    Returns:
        (A, 2) column and row of the cell, (A,) stride in pixels and (A, 2) width and height in
        pixels; float32, read-only.
    """
    corner, stride, size = [], [], []
    for step, level in zip(strides, sizes, strict=True):
        rows, columns = (side // step for side in size_hw)
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)
        corner.append(np.tile(np.stack((x, y), 1), (len(level), 1)))
        stride.append(np.full(len(corner[-1]), step))
        size.append(np.repeat(np.array(level), rows * columns, axis=0))
    arrays = tuple(np.concatenate(each).astype(np.float32) for each in (corner, stride, size))
    for array in arrays:
        array.flags.writeable = False
    return arrays[0], arrays[1], arrays[2]


def likely(objectness: NDArray[np.float32], limit: float) -> NDArray[np.intp]:
    """The anchors of an objectness greater than `limit`."""
    if len(objectness):
        finite(objectness.max(), "scores")  # the maximum of anything with a NaN is NaN
    return np.flatnonzero(objectness > np.float32(limit))
