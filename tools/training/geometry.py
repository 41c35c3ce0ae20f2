"""Overlap of aligned boxes, differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["ciou", "expectation"]

_TINY = 1e-7


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of the boxes of `a` and `b`, row by row.

    IoU - d^2 / c^2 - alpha v, with d the distance of the centres, c the diagonal of the box
    around both, v = 4 / pi^2 (atan(w_b / h_b) - atan(w_a / h_a))^2 and alpha = v / (1 - IoU + v),
    without gradient (Zheng et al. 2020, arXiv:1911.08287).

    Args:
        a, b: (N, 4) float32, x1 y1 x2 y2; sides of at least 0.

    Returns:
        (N,), at most 1, negative for boxes far apart.
    """
    ax1, ay1, ax2, ay2 = a.unbind(1)
    bx1, by1, bx2, by2 = b.unbind(1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    inter = width * height
    iou = inter / (aw * ah + bw * bh - inter + _TINY)
    around_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    around_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    diagonal = around_w.square() + around_h.square() + _TINY
    distance = ((ax1 + ax2 - bx1 - bx2).square() + (ay1 + ay2 - by1 - by2).square()) / 4
    turn = torch.atan(bw / (bh + _TINY)) - torch.atan(aw / (ah + _TINY))
    v = 4 / math.pi**2 * turn.square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + _TINY)
    return iou - distance / diagonal - alpha * v


def expectation(logits: Tensor, dim: int) -> Tensor:
    """Return the mean bin index of distributions given as logits, with the bins on axis `dim`."""
    bins = torch.arange(logits.shape[dim], dtype=logits.dtype, device=logits.device)
    shape = [1] * logits.ndim
    shape[dim] = -1
    return (logits.softmax(dim) * bins.view(shape)).sum(dim)
