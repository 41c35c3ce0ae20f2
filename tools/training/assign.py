"""Task-aligned assignment of anchors to objects, with target scores.

Feng et al. 2021, TOOD, arXiv:2108.07755, section 3.2, with the alignment metric t = s^a u^b of
the score s for the object's class and the overlap u of the predicted box with the object's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tools.training.geometry import ciou

__all__ = ["TOPK", "Assignment", "Truth", "assign"]

# Exponents of score and overlap in the metric, and anchors per object, as in YOLOv8.
_ALPHA, _BETA = 0.5, 6.0
TOPK = 10

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of all images of a batch.

    Attributes:
        image: (G,) int64, index of the image in the batch.
        boxes: (G, 4) float32, x1 y1 x2 y2 in pixels of the input.
        class_id: (G,) int64.
    """

    image: Tensor
    boxes: Tensor
    class_id: Tensor


@dataclass(frozen=True, eq=False)
class Assignment:
    """The anchors with an assigned object.

    Attributes:
        image, anchor: (P,) int64, indices of the image and the anchor.
        truth: (P,) int64, index of the object in `Truth`.
        score: (P,) float32, 0 to 1, target score for the class of the object.
    """

    image: Tensor
    anchor: Tensor
    truth: Tensor
    score: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, truth: Truth, topk: int = TOPK
) -> Assignment:
    """Assign to each object the anchors with the best predictions of it.

    Candidates are the anchors inside the box of the object. The `topk` with the largest metric are
    assigned; an anchor assigned to several objects keeps the one with the largest overlap. The
    target score is the metric, scaled to the largest overlap of the object.

    Args:
        scores: (B, nc, A) predicted class probabilities.
        boxes: (B, 4, A) predicted x1 y1 x2 y2, pixels.
        points: (2, A) x, y of the anchors, pixels.
        truth: the objects.
        topk: maximum number of anchors per object.
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
    """(G, A) bool: the point is inside the box, not on its edge."""
    x, y = points
    x1, y1, x2, y2 = boxes.T.unsqueeze(2)
    inside: Tensor = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    return inside


def _best_of_each(group: Tensor, value: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest values of each group, the first of equal ones."""
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    members = torch.bincount(group)
    starts = members.cumsum(0) - members
    return order[torch.arange(len(order)) - starts[group[order]] < count]
