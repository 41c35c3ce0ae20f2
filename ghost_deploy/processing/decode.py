"""Decoders: from the output tensor of one image to scored boxes, one function per decoder.

All decoders have the signature of `Decoder` and keep scores strictly greater than `conf`. Only
candidates are decoded, so the cost is one pass over the scores. Those of heads with anchors are in
`decode_anchors`, those of graphs that end in raw maps in `decode_maps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.boxes import xywh_to_xyxy
from ghost_deploy.processing.candidates import (
    Candidates,
    Decoder,
    above,
    finite,
    logit_below,
    sigmoid,
)
from ghost_deploy.processing.decode_anchors import decode_anchors, decode_anchors_raw


def decode_dfl(
    output: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
    conf: float,
    multi_label: bool,
) -> Candidates:
    """Decode (4 + classes, A): centre xywh in input pixels, then probabilities.

    Candidates are in the order of anchors, then classes. Arguments: see `Decoder`.
    """
    anchor, class_id, score = above(output[4:], conf, multi_label)
    xywh = finite(output[:4, anchor].T, "boxes")  # before arithmetic, which would warn
    with np.errstate(over="ignore"):
        xyxy = xywh_to_xyxy(xywh)
    return Candidates(finite(xyxy, "boxes"), score, class_id)


def decode_dfl_raw(
    output: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
    conf: float,
    multi_label: bool,
) -> Candidates:
    """Decode (4 * reg_max + classes, A): distribution logits per side, then class logits.

    Same boxes and order as `decode_dfl` of the decoded form, within float32 rounding. Arguments:
    see `Decoder`.
    """
    bins = 4 * spec.head.reg_max
    anchor, class_id, score = probable(output[bins:], conf, multi_label)
    xyxy = dfl_boxes(output[:bins, anchor], anchor, spec, size_hw)
    return Candidates(xyxy, score, class_id)


def probable(
    classes: NDArray[np.float32], conf: float, multi_label: bool, *, logits: bool = True
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
    """Anchor, class and score of what exceeds `conf`, in the order of anchors, then classes.

    Args:
        classes: (classes, A) float32.
        conf, multi_label: see `Decoder`.
        logits: whether `classes` is before the sigmoid.
    """
    if not logits:
        return above(classes, conf, multi_label)
    anchor, class_id, logit = above(classes, logit_below(conf), multi_label)
    score = sigmoid(logit)
    keep = score > np.float32(conf)
    return anchor[keep], class_id[keep], score[keep]


def dfl_boxes(
    logits: NDArray[np.float32],
    anchor: NDArray[np.intp],
    spec: ModelSpec,
    size_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """Corners in pixels of the model's input, (N, 4), of distributions over distances.

    Args:
        logits: (4 * reg_max, N) float32.
        anchor: (N,) index of the anchor of each column.
        spec: with the strides and `reg_max` of the head.
        size_hw: (height, width) of the model's input, pixels.

    Raises:
        BackendError: they are not finite.
    """
    points, stride = anchor_points(size_hw, spec.head.strides)
    ltrb = _expectation(finite(logits, "boxes"), spec.head.reg_max)
    centre = points[:, anchor]
    with np.errstate(over="ignore"):
        xyxy = np.concatenate((centre - ltrb[:2], centre + ltrb[2:])) * stride[anchor]
    return finite(xyxy.T, "boxes")


def decode_one2one(
    output: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
    conf: float,
    multi_label: bool,
) -> Candidates:
    """Decode (K, 6): xyxy in input pixels, score, class id; the order is kept.

    `multi_label` has no effect. Arguments: see `Decoder`.

    Raises:
        SpecError: a class id without a name in the model description.
    """
    finite(output, "boxes or scores")
    found = output[output[:, 4] > np.float32(conf)]
    with np.errstate(invalid="ignore"):  # a number beyond int32
        class_id = found[:, 5].astype(np.int32)
    if len(class_id) and not 0 <= class_id.min() <= class_id.max() < spec.num_classes:
        raise SpecError(
            "the model returned a class id that its description does not have",
            got=f"{class_id.min()} to {class_id.max()}",
            expected=f"0 to {spec.num_classes - 1}",
            fix="Export the model again: its class names or its decoder are wrong",
        )
    return Candidates(found[:, :4], found[:, 4], class_id)


DECODERS: Mapping[str, Decoder] = {
    "dfl": decode_dfl,
    "dfl-raw": decode_dfl_raw,
    "anchors": decode_anchors,
    "anchors-raw": decode_anchors_raw,
    "one2one": decode_one2one,
    "efficient-nms": decode_one2one,
    "nms": decode_one2one,
}
"""Decoders by `HeadSpec.decoder`."""


@lru_cache(maxsize=16)
def anchor_points(
    size_hw: tuple[int, int], strides: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cell centres of all levels, row-major, levels in the order of `strides`.

    Args:
        size_hw: (height, width) of the model's input, pixels.
        strides: pixels per cell of each level.

    Returns:
        (2, A) x and y in cells of their level, and (A,) stride in pixels; float32, read-only.
    """
    points, stride = [], []
    for step in strides:
        rows, columns = (side // step for side in size_hw)
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)
        points.append(np.stack((x, y)) + 0.5)
        stride.append(np.full(rows * columns, step))
    result = (
        np.concatenate(points, axis=1).astype(np.float32),
        np.concatenate(stride).astype(np.float32),
    )
    for array in result:
        array.flags.writeable = False
    return result


def _expectation(logits: NDArray[np.float32], reg_max: int) -> NDArray[np.float32]:
    """Mean of each side's distribution over the bins 0..reg_max-1, (4 * reg_max, N) to (4, N).

    With a single bin the value is the distance itself.
    """
    if reg_max == 1:
        return logits
    bins = logits.reshape(4, reg_max, -1)
    weight = np.exp(bins - bins.max(axis=1, keepdims=True))
    total: NDArray[np.float32] = np.einsum(
        "srn,r->sn", weight, np.arange(reg_max, dtype=np.float32)
    )
    total /= weight.sum(axis=1)
    return total
