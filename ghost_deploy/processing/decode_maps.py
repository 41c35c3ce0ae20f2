"""Decoders of graphs that end in the raw maps of the head, see `HeadSpec.maps`.

Scores are looked at first, level by level and without a copy; boxes are decoded of what is left.
Candidates, their order and their values are those of the decoder behind the whole graph, within
float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ONE2ONE_ROWS, HeadSpec, ModelSpec
from ghost_deploy.processing.candidates import Candidates, finite, logit_below
from ghost_deploy.processing.decode import dfl_boxes, probable
from ghost_deploy.processing.decode_anchors import anchors_from_raw, decode_anchors, likely

Maps: TypeAlias = Sequence[NDArray[np.float32]]
"""The maps of one image, (C, h, w), in the order of `HeadSpec.maps`."""

MapDecoder: TypeAlias = Callable[[Maps, ModelSpec, tuple[int, int], float, bool], Candidates]
"""As `candidates.Decoder`, of maps in place of the output tensor."""


def decode_dfl_maps(
    maps: Maps, spec: ModelSpec, size_hw: tuple[int, int], conf: float, multi_label: bool
) -> Candidates:
    """Decode box and class maps; candidates are in the order of anchors, then classes."""
    boxes, classes = box_and_class(maps, spec.head)
    anchor, class_id, score = _scored(classes, spec.head, conf, multi_label)
    xyxy = dfl_boxes(_columns(boxes, anchor), anchor, spec, size_hw)
    return Candidates(xyxy, score, class_id)


def decode_one2one_maps(
    maps: Maps, spec: ModelSpec, size_hw: tuple[int, int], conf: float, multi_label: bool
) -> Candidates:
    """Decode box and class maps of a branch without NMS: the best pairs of anchor and class.

    They come by descending score; of equal scores those of the better anchor first, then by the
    number of the anchor and of the class. `multi_label` has no effect.
    """
    boxes, classes = box_and_class(maps, spec.head)
    anchor, class_id, score = _scored(classes, spec.head, conf, True)
    limit = min(ONE2ONE_ROWS, spec.head.anchors(spec.input.min_hw))
    if len(score) > limit:
        kept = score >= np.partition(score, -limit)[-limit]
        anchor, class_id, score = anchor[kept], class_id[kept], score[kept]
    best = np.zeros(spec.head.anchors(size_hw), np.float32)
    np.maximum.at(best, anchor, score)
    order = np.lexsort((class_id, anchor, -best[anchor], -score))[:limit]
    anchor = anchor[order]
    xyxy = dfl_boxes(_columns(boxes, anchor), anchor, spec, size_hw)
    return Candidates(xyxy, score[order], class_id[order])


def decode_anchor_maps(
    maps: Maps, spec: ModelSpec, size_hw: tuple[int, int], conf: float, multi_label: bool
) -> Candidates:
    """Decode a map a level of a head with anchors."""
    each = len(spec.head.anchor_sizes[0])
    levels = [level.reshape(each, 5 + spec.num_classes, -1) for level in maps]
    objectness = np.concatenate([level[:, 4].ravel() for level in levels])
    anchor = likely(objectness, logit_below(conf))
    rows = anchors_from_raw(_rows(levels, anchor), anchor, spec, size_hw)
    return decode_anchors(rows, spec, size_hw, conf, multi_label)


MAP_DECODERS: Mapping[str, MapDecoder] = {
    "dfl-raw": decode_dfl_maps,
    "one2one-raw": decode_one2one_maps,
    "anchors-raw": decode_anchor_maps,
}
"""Decoders of maps by `HeadSpec.decoder`."""


def box_and_class(
    maps: Maps, head: HeadSpec
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The box maps (4 * reg_max, cells) and the class maps (classes, cells) of all levels."""
    step = len(head.maps[0])
    flat = [level.reshape(level.shape[0], -1) for level in maps]
    return flat[0::step], flat[1::step]


def raw_anchor_rows(maps: Maps, spec: ModelSpec) -> NDArray[np.float32]:
    """All rows (A, 5 + classes) of the maps of a head with anchors, as `anchors-raw`."""
    each, values = len(spec.head.anchor_sizes[0]), 5 + spec.num_classes
    levels = [level.reshape(each, values, -1).transpose(0, 2, 1) for level in maps]
    return np.concatenate([level.reshape(-1, values) for level in levels])


def _scored(
    classes: Sequence[NDArray[np.float32]], head: HeadSpec, conf: float, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
    """Anchor, class and score of what exceeds `conf`, in the order of anchors."""
    start, found = 0, []
    for level in classes:
        anchor, class_id, score = probable(level, conf, multi_label, logits=not head.scores_in_maps)
        found.append((anchor + start, class_id, score))
        start += level.shape[1]
    anchors, class_ids, scores = zip(*found, strict=True)
    return np.concatenate(anchors), np.concatenate(class_ids), np.concatenate(scores)


def _columns(
    levels: Sequence[NDArray[np.float32]], anchor: NDArray[np.intp]
) -> NDArray[np.float32]:
    """The columns of `anchor` of maps (C, cells) that stand one behind the other."""
    found = np.empty((levels[0].shape[0], len(anchor)), np.float32)
    for here, local, level in _by_level(levels, [level.shape[1] for level in levels], anchor):
        found[:, here] = level[:, local]
    return found


def _rows(levels: Sequence[NDArray[np.float32]], anchor: NDArray[np.intp]) -> NDArray[np.float32]:
    """The rows of `anchor` of maps (anchors, values, cells)."""
    found = np.empty((len(anchor), levels[0].shape[1]), np.float32)
    counts = [level.shape[0] * level.shape[2] for level in levels]
    for here, local, level in _by_level(levels, counts, anchor):
        which, cell = np.divmod(local, level.shape[2])
        found[here] = level[which, :, cell]
    return finite(found, "boxes or scores")


def _by_level(levels: Sequence[Any], counts: Sequence[int], anchor: NDArray[np.intp]) -> Any:
    """For each level: which of `anchor` lie in it, their numbers within it, and the level."""
    start = 0
    for level, count in zip(levels, counts, strict=True):
        here = np.flatnonzero((anchor >= start) & (anchor < start + count))
        yield here, anchor[here] - start, level
        start += count
