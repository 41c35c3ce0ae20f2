"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["MAX_NORM", "input_side", "learning_rate", "make_optimizer"]

MAX_NORM = 10.0
"""Maximum norm of the gradients."""

_DECAY = 0.05
_WARM_STEPS = 300
_LAST = 0.02

_GROWS = (0.4, 0.85)


def make_optimizer(net: nn.Module, rate: float) -> torch.optim.AdamW:
    """Create AdamW (Loshchilov and Hutter 2019), without decay of biases and normalizations."""
    trained = [weights for weights in net.parameters() if weights.requires_grad]
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": _DECAY},
        {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, foreach=True)


def learning_rate(step: int, steps: int, rate: float) -> float:
    """Return the learning rate: linear warm-up, then half a cosine down to `_LAST` * rate.

    Args:
        step: from 0.
        steps: total number; a tenth, at most `_WARM_STEPS`, is warm-up.
        rate: the largest learning rate.
    """
    warm = max(1, min(_WARM_STEPS, steps // 10))
    if step < warm:
        return rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return rate * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * done)) / 2)


def input_side(epoch: int, epochs: int, small: int, size: int) -> int:
    """Return the side of the input in an epoch, pixels; small inputs take less time.

    It increases from `small` to `size` between the shares `_GROWS` of all epochs, linearly in steps
    of 32 (progressive learning: Tan and Le 2021, EfficientNetV2, arXiv:2104.00298).

    Args:
        epoch: from 0.
        epochs: total number.
        small, size: side at the start and at the end, pixels.
    """
    first, last = _GROWS
    share = min(1.0, max(0.0, (epoch / epochs - first) / (last - first)))
    return round((small + (size - small) * share) / 32) * 32
