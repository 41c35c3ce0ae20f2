"""The loss of a head: boxes, distance distributions and task-aligned scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.head import Detect, make_anchors
from ghost_deploy.models.head_base import Branch
from ghost_deploy.models.network import DetectionNet
from tools.training.anchor_loss import AnchorLosses, anchor_loss
from tools.training.assign import TOPK, Truth, assign
from tools.training.geometry import ciou, expectation

__all__ = ["Losses", "distribution_loss", "head_loss", "network_loss"]

# Gains of YOLOv8.
_BOX, _SCORE, _DISTRIBUTION = 7.5, 0.5, 1.5


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses of a batch: 1 - CIoU, cross-entropy of scores and of distance distributions.

    Each is a scalar, the sum over anchors divided by the sum of target scores.
    """

    box: Tensor
    score: Tensor
    distribution: Tensor

    @property
    def total(self) -> Tensor:
        """The weighted sum, which is minimized."""
        return _BOX * self.box + _SCORE * self.score + _DISTRIBUTION * self.distribution

    @property
    def parts(self) -> Mapping[str, Tensor]:
        """By name."""
        return {"box": self.box, "score": self.score, "distribution": self.distribution}

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.box + other.box,
            self.score + other.score,
            self.distribution + other.distribution,
        )


def network_loss(net: DetectionNet, images: Tensor, truth: Truth) -> Losses | AnchorLosses:
    """Compute the loss of all branches of the head.

    A one2one branch is trained with one anchor per object and detached features (Wang et al. 2024,
    YOLOv10, arXiv:2405.14458).

    Args:
        net: in training mode.
        images: (B, 3, H, W) float32, RGB, 0 to 1.
        truth: the objects.
    """
    head = net.head
    features = net.features(images)
    sizes = [(level.shape[-2], level.shape[-1]) for level in features]
    if isinstance(head, AnchorDetect):
        return anchor_loss(head, head.raw(features), sizes, truth)
    assert isinstance(head, Detect)
    return _branches_loss(head, net.branches, features, sizes, truth)


def _branches_loss(
    head: Detect,
    branches: Sequence[Branch],
    features: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    truth: Truth,
) -> Losses:

    def branch_loss(branch: Branch) -> Losses:
        alone = branch == "one2one" and head.has_one2many
        maps = [level.detach() for level in features] if alone else features
        topk = 1 if branch == "one2one" else TOPK
        return head_loss(head, head.raw(maps, branch), sizes, truth, topk)

    first, *others = (branch_loss(branch) for branch in branches)
    for other in others:
        first = first + other
    return first


def head_loss(
    head: Detect, raw: Tensor, sizes_hw: Sequence[tuple[int, int]], truth: Truth, topk: int = TOPK
) -> Losses:
    """Compute the loss of one branch.

    Args:
        head: for its number of bins and classes, and its strides.
        raw: (B, 4 * reg_max + nc, A) logits of `Detect.raw`.
        sizes_hw: (height, width) of the map of each level, cells.
        truth: the objects of the batch.
        topk: maximum number of anchors per object.
    """
    points, stride = make_anchors(sizes_hw, head.strides)
    sides, classes = torch.split(raw, [4 * head.reg_max, head.nc], 1)
    with torch.no_grad():
        logits = sides.view(len(raw), 4, head.reg_max, -1)
        boxes = _boxes(expectation(logits, 2), points, stride)
        found = assign(classes.sigmoid(), boxes, points * stride, truth, topk)
    targets = torch.zeros_like(classes)
    targets[found.image, truth.class_id[found.truth], found.anchor] = found.score
    total = found.score.sum().clamp(min=1)
    score = binary_cross_entropy_with_logits(classes, targets, reduction="sum") / total
    logits = sides[found.image, :, found.anchor].view(len(found.anchor), 4, head.reg_max)
    own_points, own_stride = points[:, found.anchor], stride[:, found.anchor]
    predicted = _boxes(expectation(logits, 2).T, own_points, own_stride).T
    wanted = truth.boxes[found.truth]
    box = ((1 - ciou(predicted, wanted)) * found.score).sum() / total
    distances = _distances(wanted.T, own_points, own_stride).T
    each = distribution_loss(logits, distances).mean(1)
    return Losses(box, score, (each * found.score).sum() / total)


def distribution_loss(logits: Tensor, distance: Tensor) -> Tensor:
    """Distribution focal loss (Li et al. 2020, arXiv:2006.04388, equation 6).

    Cross-entropy with the two bins next to the distance, weighted by proximity.

    Args:
        logits: (P, 4, bins).
        distance: (P, 4) in cells; clipped to the range of the bins.

    Returns:
        (P, 4).
    """
    bins = logits.shape[-1]
    clipped = distance.clamp(0, bins - 1 - 0.01)
    low = clipped.floor()
    share = clipped - low
    flat, left = logits.flatten(0, 1), low.long().flatten()
    below = cross_entropy(flat, left, reduction="none").view_as(distance)
    above = cross_entropy(flat, left + 1, reduction="none").view_as(distance)
    return below * (1 - share) + above * share


def _boxes(distances: Tensor, points: Tensor, stride: Tensor) -> Tensor:
    """(..., 4, A) distances in cells to x1 y1 x2 y2 in pixels."""
    left_top, right_bottom = distances.chunk(2, -2)
    return torch.cat((points - left_top, points + right_bottom), -2) * stride


def _distances(boxes: Tensor, points: Tensor, stride: Tensor) -> Tensor:
    """(4, A) x1 y1 x2 y2 in pixels to left, top, right, bottom in cells; inverse of `_boxes`."""
    top_left, bottom_right = (boxes / stride).chunk(2, 0)
    return torch.cat((points - top_left, bottom_right - points), 0)
