"""How much arithmetic a network does."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ghost_deploy.models.graph import DetectionNet, meta_copy

__all__ = ["gflops_of"]


def gflops_of(net: DetectionNet, size_hw: tuple[int, int]) -> float:
    """1e9 floating point operations for one image, 2 for each multiply-add, to 3 decimals.

    Convolutions and matrix products are counted (torch's own counter), on tensors without memory.
    """
    dry = meta_copy(net)
    image = torch.empty((1, 3, *size_hw), device="meta")
    with FlopCounterMode(display=False) as counter:
        dry.head.raw(dry.features(image), net.branch)
    operations: int = counter.get_total_flops()
    return round(operations / 1e9, 3)
