"""How large a network is: parameters and floating point operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ghost_deploy.models.network import DetectionNet, WidthCheck, meta_copy

__all__ = ["count_parameters", "gflops"]

NORM_FLOPS = 8
"""Operations that the published figures count for an element of a batch norm: 4 multiply-adds."""


def count_parameters(net: nn.Module) -> int:
    """Number of weights and biases; batch norm statistics are not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def gflops(net: DetectionNet, size_hw: tuple[int, int] = (640, 640)) -> float:
    """1e9 operations for one image, as Ultralytics states them.

    2 for each multiply-add of convolutions, linear layers and matrix products, and `NORM_FLOPS`
    for each element of a batch norm that is not folded; activations, pooling and additions are
    not counted. Runs without memory or arithmetic.

    Args:
        net: unfused for the figures that are usually published.
        size_hw: multiples of the largest stride, pixels.
    """
    dry = meta_copy(net)
    normalized = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal normalized
        normalized += output.numel()

    for module in dry.modules():
        if isinstance(module, WidthCheck):
            module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        dry(torch.empty((1, 3, *size_hw), device="meta"))
    return float((counter.get_total_flops() + NORM_FLOPS * normalized) / 1e9)
