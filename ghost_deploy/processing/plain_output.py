"""The output that a whole graph gives, from the maps that a cut one ends in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ONE2ONE_ROWS, ModelSpec
from ghost_deploy.processing.boxes import xyxy_to_xywh
from ghost_deploy.processing.candidates import sigmoid
from ghost_deploy.processing.decode import dfl_boxes
from ghost_deploy.processing.decode_anchors import anchors_from_raw
from ghost_deploy.processing.decode_maps import (
    box_and_class,
    decode_one2one_maps,
    raw_anchor_rows,
)

_PLAIN: dict[str, Literal["dfl", "one2one", "anchors"]] = {
    "dfl-raw": "dfl",
    "one2one-raw": "one2one",
    "anchors-raw": "anchors",
}


def plain_spec(spec: ModelSpec) -> ModelSpec:
    """The description of the whole graph, of that of a cut one."""
    head = msgspec.structs.replace(spec.head, decoder=_PLAIN[spec.head.decoder], maps=())
    return msgspec.structs.replace(spec, head=head)


def plain_output(
    outputs: Mapping[str, NDArray[Any]], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Decode all anchors of the maps of one image.

    Args:
        outputs: (1, C, h, w) float32 by name.
        spec: with `HeadSpec.maps`.
        size_hw: (height, width) of the input, pixels.

    Returns:
        The output without the batch axis, of the decoder `dfl`, `anchors` or `one2one`; NaN where
        a map is not finite.
    """
    head = spec.head
    maps = [outputs[name][0] for level in head.maps for name in level]
    anchors = head.anchors(size_hw)
    if not all(np.isfinite(each).all() for each in maps):
        shape = (6, ONE2ONE_ROWS) if head.end_to_end else (4 + spec.num_classes, anchors)
        if head.per_row:
            shape = anchors, 5 + spec.num_classes
        return np.full(shape, np.nan, np.float32)
    if head.per_row:
        raw = raw_anchor_rows(maps, spec)
        return anchors_from_raw(raw, np.arange(len(raw)), spec, size_hw)
    if head.end_to_end:
        found = decode_one2one_maps(maps, spec, size_hw, 0.0, True)
        rows = np.zeros((min(ONE2ONE_ROWS, head.anchors(spec.input.min_hw)), 6), np.float32)
        columns = (found.xyxy, found.score, found.class_id)
        rows[: len(found.score)] = np.column_stack(columns)
        return rows
    boxes, classes = (np.concatenate(kind, axis=1) for kind in box_and_class(maps, head))
    scores = classes if head.scores_in_maps else sigmoid(classes)
    return with_scores(boxes, scores, spec, size_hw)


def with_scores(
    logits: NDArray[np.float32],
    scores: NDArray[np.float32],
    spec: ModelSpec,
    size_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """The output of the decoder `dfl`, (4 + classes, A).

    Args:
        logits: (4 * reg_max, A) of the distances.
        scores: (classes, A).
        spec: with the strides and `reg_max` of the head.
        size_hw: (height, width) of the input, pixels.
    """
    boxes = dfl_boxes(logits, np.arange(logits.shape[1]), spec, size_hw)
    return np.concatenate((xyxy_to_xywh(boxes).T, scores))
