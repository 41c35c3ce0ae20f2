"""The moving average of the weights of a network, which is evaluated and stored."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ghost_deploy.models.network import DetectionNet

__all__ = ["MovingAverage"]

_DECAY = 0.9999


class MovingAverage:
    """Exponential moving average over updates, of parameters and batch statistics.

    The decay increases as (1 + n) / (10 + n) over n updates, up to `_DECAY`: in short runs too, it
    averages about the last tenth.

    Attributes:
        net: the average, in eval mode, without gradients.
        updates: number of updates.
    """

    def __init__(self, net: DetectionNet) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.updates = 0
        self._mean = self.net.state_dict()

    @torch.no_grad()
    def update(self, net: DetectionNet) -> None:
        """Add the current weights; integers are copied."""
        self.updates += 1
        decay = self.decay(self.updates)
        for name, value in net.state_dict().items():
            mean: Tensor = self._mean[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach(), 1 - decay)
            else:
                mean.copy_(value)

    @staticmethod
    def decay(updates: int) -> float:
        """Return the weight of the old average at an update, counted from 1."""
        return min(_DECAY, (1 + updates) / (10 + updates))
