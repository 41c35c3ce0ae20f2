"""Candidates of an image, and how they are selected by score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError
from ghost_deploy.core.spec import ModelSpec


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


def above(
    scores: NDArray[np.float32], limit: float, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
    """Anchor, class and score of all `scores` (classes, A) strictly greater than `limit`.

    The first of equally good classes of an anchor is taken.
    """
    best = scores.max(axis=0)
    if len(best):
        finite(best.max(), "scores")  # the maximum of anything with a NaN is NaN
    threshold = np.float32(limit)
    anchor = np.flatnonzero(best > threshold)
    if multi_label:
        by_anchor = scores[:, anchor].T
        which, class_id = np.nonzero(by_anchor > threshold)
        return anchor[which], class_id.astype(np.int32), by_anchor[which, class_id]
    class_id = scores[:, anchor].argmax(axis=0)
    return anchor, class_id.astype(np.int32), best[anchor]


def logit_below(conf: float) -> float:
    """A lower bound of the logits whose float32 sigmoid may exceed `conf`; -inf for 0.

    The margin of 2^-18 is 64 float32 roundings; the exact comparison follows.
    """
    lower = conf * (1 - 2**-18)
    return math.log(lower / (1 - lower)) if lower > 0 else -math.inf


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of logits, float32; 0 below -88."""
    with np.errstate(over="ignore"):  # exp(-logit) is inf there
        scores: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return scores


def finite(values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """Return `values`; raise `BackendError` if one of them is NaN or infinite."""
    if not np.isfinite(values).all():
        raise BackendError(
            f"the model returned {what} that are not finite numbers",
            fix="Check the weights; in fp16 or int8, run or export it in fp32 and compare",
        )
    return values
