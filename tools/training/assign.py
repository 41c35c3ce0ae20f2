"""Task-aligned assignment: which anchors learn which object, and how sure they should be.

Feng et al. 2021, TOOD, arXiv:2108.07755, section 3.2, with the alignment metric t = s^a u^b of
the score s for the object's class and the overlap u of the predicted box with the object's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tools.training.geometry import ciou

__all__ = ["TOPK", "Assignment", "Truth", "assign"]

# Weights of score and overlap in the metric, and anchors an object: those of YOLOv8.
_ALPHA, _BETA = 0.5, 6.0
TOPK = 10

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of a batch, those of all images in one list.

    Attributes:
        image: (G,) int64, row of the batch.
        boxes: (G, 4) float32, x1 y1 x2 y2 in pixels of the input.
        class_id: (G,) int64.
    """

    image: Tensor
    boxes: Tensor
    class_id: Tensor


@dataclass(frozen=True, eq=False)
class Assignment:
    """Anchors that learn an object, each at most one.

    Attributes:
        image, anchor: (P,) int64, where the anchor is.
        truth: (P,) int64, which object of the `Truth` it learns.
        score: (P,) float32, 0 to 1, what it should score for the object's class.
    """

    image: Tensor
    anchor: Tensor
    truth: Tensor
    score: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, truth: Truth, topk: int = TOPK
) -> Assignment:
    """Choose for every object the anchors that already do best on it.

    An anchor may learn an object when its point lies inside the object's box. Of those the
    `topk` of the largest metric are taken; an anchor taken by several objects learns the one it
    overlaps most. Its target score is its metric, scaled so that an object's best anchor gets
    the object's best overlap.

    Args:
        scores: (B, nc, A) predicted class probabilities.
        boxes: (B, 4, A) predicted x1 y1 x2 y2, pixels.
        points: (2, A) x, y of the anchors, pixels.
        truth: the objects.
        topk: most anchors an object.
    """
    owner, anchor = _inside(points, truth.boxes).nonzero(as_tuple=True)
    image = truth.image[owner]
    overlap = ciou(boxes[image, :, anchor], truth.boxes[owner]).clamp(min=0)
    score = scores[image, truth.class_id[owner], anchor]
    metric = score**_ALPHA * overlap**_BETA
    kept = _best_of_each(owner, metric, topk)
    kept = kept[_best_of_each((image * points.shape[1] + anchor)[kept], overlap[kept], 1)]
    owner, metric, overlap = owner[kept], metric[kept], overlap[kept]
    best_metric, best_overlap = (
        torch.zeros(len(truth.boxes)).scatter_reduce(0, owner, values, "amax")
        for values in (metric, overlap)
    )
    target = metric / best_metric[owner].clamp(min=_TINY) * best_overlap[owner]
    return Assignment(image[kept], anchor[kept], owner, target)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(G, A) bool: the point lies inside the box, not on its edge."""
    x, y = points
    x1, y1, x2, y2 = boxes.T.unsqueeze(2)
    inside: Tensor = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    return inside


def _best_of_each(group: Tensor, value: Tensor, count: int) -> Tensor:
    """Places of the `count` largest values of each group; of equal ones the first."""
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    members = torch.bincount(group)
    starts = members.cumsum(0) - members
    return order[torch.arange(len(order)) - starts[group[order]] < count]
