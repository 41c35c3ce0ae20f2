"""Raw outputs in a common form, so that artifacts with different decoders can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.boxes import xyxy_to_xywh
from ghost_deploy.processing.candidates import sigmoid
from ghost_deploy.processing.decode_anchors import anchors_from_raw
from ghost_deploy.processing.plain_output import plain_output, with_scores


def canonical(
    output: NDArray[np.float32], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Convert the raw output for one image to the form of the PyTorch module, `dfl` or `anchors`.

    Raw decoders are decoded; each row of an NMS becomes an anchor, the others are empty.

    Args:
        output: float32 without batch axis, of the decoder that `spec` names.
        spec: description of `output`.
        size_hw: (height, width) of the input, pixels.

    Returns:
        (4 + classes, A) centre x, centre y, width, height in letterboxed pixels and scores 0 to 1,
        or (A, 5 + classes) with an objectness before the classes; other decoders' outputs
        unchanged.
    """
    if spec.head.embedded_nms:
        return _anchors_of(output, spec, size_hw)
    if not spec.head.decoder.endswith("-raw") or not np.isfinite(output).all():
        return output
    if spec.head.per_row:
        return anchors_from_raw(output, np.arange(len(output)), spec, size_hw)
    bins = 4 * spec.head.reg_max
    return with_scores(output[:bins], sigmoid(output[bins:]), spec, size_hw)


def canonical_outputs(
    outputs: Mapping[str, NDArray[Any]], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """`canonical` of the outputs of one image, (1, ...) by name, of a graph with maps or without.

    The maps of a one2one branch become the (K, 6) rows that its whole graph gives. Where a map is
    not finite, all is NaN.
    """
    if spec.head.maps:
        return plain_output(outputs, spec, size_hw)
    return canonical(outputs[spec.head.output][0], spec, size_hw)


def _anchors_of(
    rows: NDArray[np.float32], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    by_anchor = np.zeros((spec.head.anchors(size_hw), 5 + spec.num_classes), np.float32)
    found = rows[rows[:, 4] > 0][: len(by_anchor)]
    used = np.arange(len(found))
    by_anchor[used, :4] = xyxy_to_xywh(found[:, :4])
    by_anchor[used, 4] = 1
    by_anchor[used, 5 + found[:, 5].astype(np.int64)] = found[:, 4]
    return by_anchor if spec.head.anchor_sizes else scored(by_anchor)


def scored(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """From (A, 5 + classes) with an objectness to (4 + classes, A) with scores."""
    joined: NDArray[np.float32] = np.concatenate((rows[:, :4], rows[:, 4:5] * rows[:, 5:]), axis=1)
    scores: NDArray[np.float32] = joined.T
    return scores


def comparable(
    output: NDArray[np.float32], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """The raw output for one image in the form that `compare_tensors` takes; see `canonical`."""
    found = canonical(output, spec, size_hw)
    return scored(found) if spec.head.per_row else found
