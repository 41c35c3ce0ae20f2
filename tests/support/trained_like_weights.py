"""Random weights under which a network of the zoo behaves like a trained one.

Batch norms get the statistics of what really reaches them, so that no signal dies or explodes,
and the head gets biases with which few anchors score high. A mistake in an export then moves
boxes and scores by as much as it would in a trained network.
"""

from __future__ import annotations

import torch
from torch import nn

from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.g_ghost import RegNetBottleneck
from ghost_deploy.models.network import DetectionNet

CELLS = (6, 8)
"""Rows and columns of the deepest map, over which its batch norms take their statistics."""

# Standard deviations of the logits, and the mean of the class logits.
BOX_SPREAD, CLASS_SPREAD, CLASS_BIAS = 1.5, 1.0, -3.0


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
        # Without a momentum, the statistics are those of the images that follow.
        norm.momentum = None
        norm.reset_running_stats()
    for block in net.modules():
        if isinstance(block, RegNetBottleneck):
            # What is added to a path that no norm bounds is small in trained networks; with a gain
            # of 1, rounding alone grows with the number of bottlenecks beyond the gate.
            block.bn3.weight.data.mul_(0.3)  # type: ignore[operator]
    net.train()
    with torch.no_grad():
        features = net.features(noise(net, random))
        for branch in net.branches:
            net.head.raw(features, branch)
    for norm in norms:
        norm.momentum = 0.03
    net.eval().requires_grad_(False)
    _condition_head(net, noise(net, random))
    return net


def noise(net: DetectionNet, random: torch.Generator) -> torch.Tensor:
    """Two images, as the tests feed them."""
    size_hw = [max(net.strides) * cells for cells in CELLS]
    return torch.rand((2, 3, *size_hw), generator=random)


def _condition_head(net: DetectionNet, images: torch.Tensor) -> None:
    """Logits that spread as those of a trained head do; a few anchors score above 0.05."""
    features = net.features(images)
    head = net.head
    if isinstance(head, AnchorDetect):
        _condition_anchors(head, features)
        return
    for levels, spread, bias in (
        (head.cv2, BOX_SPREAD, 0.0),
        (head.one2one_cv2, BOX_SPREAD, 0.0),
        (head.cv3, CLASS_SPREAD, CLASS_BIAS),
        (head.one2one_cv3, CLASS_SPREAD, CLASS_BIAS),
    ):
        for level, x in zip(levels or (), features, strict=False):
            level[-1].bias.data.zero_()
            level[-1].weight.data.mul_(spread / level(x).std())
            level[-1].bias.data.fill_(bias)


def _condition_anchors(head: AnchorDetect, features: list[torch.Tensor]) -> None:
    """The same for a head with anchors: objectness stands for the score, classes are surer."""
    for conv, x in zip(head.m, features, strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        conv.bias.data.zero_()
        conv.weight.data.mul_(BOX_SPREAD / conv(x).std())
        conv.bias.data.view(head.na, head.no)[:, 4] = CLASS_BIAS
