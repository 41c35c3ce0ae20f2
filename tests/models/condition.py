"""Random weights under which a network of the zoo behaves like a trained one.

Batch norms get the statistics of what really reaches them, so that no signal dies or explodes,
and the head gets biases with which few anchors score high. A mistake in an export then moves
boxes and scores by as much as it would in a trained network.
"""

from __future__ import annotations

import torch
from torch import nn

from ghost_deploy.models.graph import DetectionNet

SIZE_HW = (192, 256)


def condition(net: DetectionNet, seed: int = 0) -> DetectionNet:
    """Give `net` new weights and calibrated batch norms; in place, deterministic.

    Returns:
        the network itself, in eval mode.
    """
    random = torch.Generator().manual_seed(seed)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.8, 1.2, generator=random)
        norm.bias.data.uniform_(-0.2, 0.2, generator=random)
        # Without a momentum, the statistics are the plain mean over the images that follow.
        norm.momentum = None
        norm.reset_running_stats()
    net.train()
    with torch.no_grad():
        for _ in range(2):
            images = torch.rand((2, 3, *SIZE_HW), generator=random)
            features = net.features(images)
            for branch in net.branches:
                net.head.raw(features, branch)
    for norm in norms:
        norm.momentum = 0.03
    _condition_head(net, random)
    return net.eval().requires_grad_(False)


def _condition_head(net: DetectionNet, random: torch.Generator) -> None:
    """Sharper box distributions, and class scores around 0.05 with some far above."""
    head = net.head
    for levels in (head.cv2, head.one2one_cv2):
        for level in levels or ():
            level[-1].weight.data.mul_(2)
    for levels in (head.cv3, head.one2one_cv3):
        for level in levels or ():
            level[-1].weight.data.mul_(2)
            level[-1].bias.data.uniform_(-4, -2, generator=random)
