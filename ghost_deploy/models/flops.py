"""The size of a network: parameters and floating point operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghost_deploy.models.dry_run import DryRun
from ghost_deploy.models.network import DetectionNet, WidthCheck, meta_copy

NORM_FLOPS = 8
"""Operations per element of a batch norm in published figures: 4 multiply-adds."""


def count_parameters(net: nn.Module) -> int:
    """Number of weights and biases; batch norm statistics are not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def gflops(net: DetectionNet, size_hw: tuple[int, int] = (640, 640)) -> float:
    """Count 1e9 operations for one image, like Ultralytics.

    2 per multiply-add of convolutions, linear layers and matrix products, and `NORM_FLOPS` per
    element of a batch norm that is not folded; activations, pooling and additions are not
    counted. Runs on the meta device.

    Args:
        net: usually unfused, as for published figures.
        size_hw: (height, width) in pixels, multiples of the largest stride.
    """
    dry = meta_copy(net)
    normalized = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal normalized
        normalized += output.numel()

    for module in dry.modules():
        if isinstance(module, WidthCheck):
            module.register_forward_hook(count)
    with DryRun() as counted, torch.no_grad():
        dry(torch.empty((1, 3, *size_hw), device="meta"))
    return float(counted.flops + NORM_FLOPS * normalized) / 1e9
