"""Decoders: from the output tensor of one image to scored boxes, one function per decoder.

All decoders have the signature of `Decoder` and keep scores strictly greater than `conf`. Only
candidates are decoded, so the cost is one pass over the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, SpecError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.boxes import xywh_to_xyxy


class Candidates(NamedTuple):
    """Scored boxes of one image, before NMS.

    Attributes:
        xyxy: (N, 4) float32, pixels of the letterboxed input, not clipped.
        score: (N,) float32.
        class_id: (N,) int32.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]


Decoder: TypeAlias = Callable[
    [NDArray[np.float32], ModelSpec, tuple[int, int], float, bool], Candidates
]
"""The signature of a decoder.

Args:
    output: output tensor of one image, without the batch axis, float32.
    spec: the description of the model, which matches `output`.
    size_hw: (height, width) of the model's input, pixels.
    conf: score threshold, exclusive.
    multi_label: return a candidate for each class of an anchor above `conf`, not only for the best.

Returns:
    The candidates, boxes in pixels of the model's input.

Raises:
    BackendError: scores or boxes are not finite.
"""


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
    anchor, class_id, score = _above(output[4:], conf, multi_label)
    xywh = _finite(output[:4, anchor].T, "boxes")  # before arithmetic, which would warn
    with np.errstate(over="ignore"):
        xyxy = xywh_to_xyxy(xywh)
    return Candidates(_finite(xyxy, "boxes"), score, class_id)


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
    anchor, class_id, logit = _above(output[bins:], _logit_below(conf), multi_label)
    with np.errstate(over="ignore"):  # exp(-logit) is inf below -88, and the score then 0
        score = np.float32(1) / (np.float32(1) + np.exp(-logit))
    keep = score > np.float32(conf)
    anchor, class_id, score = anchor[keep], class_id[keep], score[keep]
    points, stride = anchor_points(size_hw, spec.head.strides)
    logits = _finite(output[:bins, anchor], "boxes")
    ltrb = _expectation(logits, spec.head.reg_max)
    centre = points[:, anchor]
    with np.errstate(over="ignore"):
        xyxy = np.concatenate((centre - ltrb[:2], centre + ltrb[2:])) * stride[anchor]
    return Candidates(_finite(xyxy.T, "boxes"), score, class_id)


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
    _finite(output, "boxes or scores")
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


def _above(
    scores: NDArray[np.float32], limit: float, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
    """Anchor, class and score of all `scores` (classes, A) strictly greater than `limit`.

    The first of equally good classes of an anchor is taken.
    """
    best = scores.max(axis=0)
    _finite(best.max(), "scores")  # the maximum of anything with a NaN is NaN
    threshold = np.float32(limit)
    anchor = np.flatnonzero(best > threshold)
    if multi_label:
        by_anchor = scores[:, anchor].T
        which, class_id = np.nonzero(by_anchor > threshold)
        return anchor[which], class_id.astype(np.int32), by_anchor[which, class_id]
    class_id = scores[:, anchor].argmax(axis=0)
    return anchor, class_id.astype(np.int32), best[anchor]


def _logit_below(conf: float) -> float:
    """A lower bound of the logits whose float32 sigmoid may exceed `conf`; -inf for 0.

    The margin of 2^-18 is 64 float32 roundings; the exact comparison follows.
    """
    lower = conf * (1 - 2**-18)
    return math.log(lower / (1 - lower)) if lower > 0 else -math.inf


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


def _finite(values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """Return `values`; raise `BackendError` if one of them is NaN or infinite."""
    if not np.isfinite(values).all():
        raise BackendError(
            f"the model returned {what} that are not finite numbers",
            fix="Check the weights; in fp16 or int8, run or export it in fp32 and compare",
        )
    return values
