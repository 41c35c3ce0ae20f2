"""The loss of a head with anchors: boxes, objectness and classes.

As described for YOLOv5 (https://docs.ultralytics.com/yolov5/tutorials/architecture_description,
sections 4.1 to 4.4). An object is assigned to the anchors whose sides are within a factor of four
of its own, on each level, in the cell of its centre and in the two nearest neighbor cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ghost_deploy.models.anchor_head import AnchorDetect, make_anchor_grid
from tools.training.assign import Truth
from tools.training.geometry import ciou

__all__ = ["MAX_RATIO", "AnchorAssignment", "AnchorLosses", "anchor_loss", "assign_anchors"]

MAX_RATIO = 4.0
"""An anchor is assigned below this ratio of its sides to those of the object."""

# Gains of YOLOv5, for three levels, and for 80 classes and 640 pixels.
_BOX, _OBJECTNESS, _SCORE = 0.05, 1.0, 0.5
# Weights of the objectness by level, the finest first.
_LEVELS = {3: (4.0, 1.0, 0.4)}
_MORE_LEVELS = (4.0, 1.0, 0.25, 0.06, 0.02)


@dataclass(frozen=True, eq=False)
class AnchorAssignment:
    """The anchors with an assigned object.

    Attributes:
        anchor: (P,) int64, index of the anchor in the order of `HeadSpec`.
        truth: (P,) int64, index of the object in `Truth`.
    """

    anchor: Tensor
    truth: Tensor


@dataclass(frozen=True, eq=False)
class AnchorLosses:
    """The losses of a batch: 1 - CIoU, cross-entropy of objectness and of classes; scalars with
    their gains, for the whole batch."""

    box: Tensor
    objectness: Tensor
    score: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, which is minimized."""
        return self.box + self.objectness + self.score

    @property
    def parts(self) -> Mapping[str, Tensor]:
        """By name."""
        return {"box": self.box, "objectness": self.objectness, "score": self.score}


def anchor_loss(
    head: AnchorDetect, raw: Tensor, sizes_hw: Sequence[tuple[int, int]], truth: Truth
) -> AnchorLosses:
    """Compute the loss of a head with anchors.

    Args:
        head: for its anchors, strides and classes.
        raw: (B, A, 5 + nc) logits of `AnchorDetect.raw`.
        sizes_hw: (height, width) of the map of each level, cells.
        truth: the objects of the batch.
    """
    sizes = torch.tensor(head.anchor_sizes)
    cells, steps, own = make_anchor_grid(sizes_hw, head.strides, sizes)
    found = assign_anchors(sizes_hw, head.strides, sizes, truth)
    image = truth.image[found.truth]
    logits = raw[image, found.anchor]
    sides = logits[:, :4].sigmoid() * 2
    centre = (sides[:, :2] - 0.5 + cells[found.anchor]) * steps[found.anchor]
    half = sides[:, 2:].square() * own[found.anchor] / 2
    overlap = ciou(torch.cat((centre - half, centre + half), 1), truth.boxes[found.truth])
    box = score = raw.sum() * 0
    if len(overlap):
        box = (1 - overlap).mean()
    if len(overlap) and head.nc > 1:
        wanted = torch.zeros_like(logits[:, 5:])
        wanted[torch.arange(len(wanted)), truth.class_id[found.truth]] = 1
        score = binary_cross_entropy_with_logits(logits[:, 5:], wanted)
    place = image * raw.shape[1] + found.anchor
    target = torch.zeros(raw.shape[0] * raw.shape[1]).scatter_reduce(
        0, place, overlap.detach().clamp(min=0), "amax"
    )
    objectness = _objectness(raw[..., 4], target.view(raw.shape[:2]), head, sizes_hw)
    factor = len(raw) * 3 / head.nl
    height = sizes_hw[0][0] * head.strides[0]
    return AnchorLosses(
        box * _BOX * factor,
        objectness * _OBJECTNESS * factor * (height / 640) ** 2,
        score * _SCORE * factor * head.nc / 80,
    )


def assign_anchors(
    sizes_hw: Sequence[tuple[int, int]], strides: Sequence[int], sizes: Tensor, truth: Truth
) -> AnchorAssignment:
    """Assign anchors to objects.

    Args:
        sizes_hw: (height, width) of the map of each level, cells.
        strides: of each level, pixels per cell.
        sizes: (nl, na, 2) width and height of the anchors, pixels.
        truth: the objects.
    """
    low, high = truth.boxes[:, :2], truth.boxes[:, 2:]
    anchors, objects, before = [], [], 0
    for (rows, columns), stride, level in zip(sizes_hw, strides, sizes, strict=True):
        ratio = (high - low)[:, None] / level
        fits = torch.maximum(ratio, 1 / ratio).amax(2) < MAX_RATIO
        which, anchor = fits.nonzero(as_tuple=True)
        for step, chosen in _cells(((low + high) / 2 / stride)[which], rows, columns):
            cell = ((low + high) / 2 / stride)[which[chosen]].floor() + step
            column, row = cell.long().unbind(1)
            anchors.append(before + (anchor[chosen] * rows + row) * columns + column)
            objects.append(which[chosen])
        before += len(level) * rows * columns
    return AnchorAssignment(torch.cat(anchors), torch.cat(objects))


def _cells(centre: Tensor, rows: int, columns: int) -> list[tuple[Tensor, Tensor]]:
    """The own cell and its neighbors: (step in x and y, whether each object takes it).

    A neighbor is taken on the side of the cell on which the centre lies, within the map.
    """
    size = torch.tensor((columns, rows))
    share = centre - centre.floor()
    inside = ((centre >= 0) & (centre < size)).all(1)
    taken = [(torch.zeros(2), inside)]
    for axis in (0, 1):
        step = torch.zeros(2)
        step[axis] = 1
        nearer_low = (share[:, axis] < 0.5) & (centre[:, axis] >= 1)
        nearer_high = (share[:, axis] > 0.5) & (centre[:, axis] < size[axis] - 1)
        taken += [(-step, inside & nearer_low), (step, inside & nearer_high)]
    return taken


def _objectness(
    logits: Tensor, target: Tensor, head: AnchorDetect, sizes_hw: Sequence[tuple[int, int]]
) -> Tensor:
    """The weighted sum over levels of the mean cross-entropy."""
    counts = [head.na * rows * columns for rows, columns in sizes_hw]
    weights = _LEVELS.get(head.nl, _MORE_LEVELS)
    total = logits.new_zeros(())
    parts = zip(
        torch.split(logits, counts, 1), torch.split(target, counts, 1), weights, strict=False
    )
    for level, wanted, weight in parts:
        total = total + weight * binary_cross_entropy_with_logits(level, wanted)
    return total
