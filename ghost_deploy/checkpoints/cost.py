"""How much arithmetic a network does."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ghost_deploy.errors import StructureError
from ghost_deploy.models.graph import DetectionNet, meta_copy

__all__ = ["gflops_of"]


def gflops_of(net: DetectionNet, size_hw: tuple[int, int]) -> float:
    """1e9 floating point operations for one image, 2 for each multiply-add, to 3 decimals.

    Convolutions and matrix products are counted (torch's own counter), on tensors without memory.

    Raises:
        StructureError: the network does not run at that size.
    """
    dry = meta_copy(net)
    try:
        with FlopCounterMode(display=False) as counter:
            dry.head.raw(dry.features(torch.empty((1, 3, *size_hw), device="meta")), net.branch)
    # A layer may raise anything over a size that it cannot take; `check` says which one it is.
    except Exception as error:
        net.check(size_hw)
        raise StructureError(
            f"the network does not run at {size_hw[0]} x {size_hw[1]}",
            got=str(error),
            fix="Choose another --imgsz",
        ) from error
    operations: int = counter.get_total_flops()
    return round(operations / 1e9, 3)
