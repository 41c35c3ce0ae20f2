"""Fusing a network for inference: batch norms folded into the preceding convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn

from ghost_deploy.models.block import Block
from ghost_deploy.models.copy_module import copy_module
from ghost_deploy.models.fold import Convolution, fold_bn

M = TypeVar("M", bound=nn.Module)


def fuse(net: M) -> M:
    """Return a deep copy of `net` that computes the same, up to rounding, with fewer layers.

    Folds the pairs declared by blocks (`Block.fold`) and each `Conv2d` or `ConvTranspose2d`
    followed by a `BatchNorm2d` in a `Sequential`, which Ultralytics does not fold. A folded batch
    norm is replaced by an identity.
    """
    fused = copy_module(net)
    # Innermost first: the branches of a block are folded before it merges them.
    for module in reversed(list(fused.modules())):
        if isinstance(module, Block):
            module.fold()
        elif type(module) is nn.Sequential:
            _fold_neighbours(module)
    return fused


def _fold_neighbours(sequence: nn.Sequential) -> None:
    for index, (first, second) in enumerate(pairwise(list(sequence))):
        if isinstance(first, Convolution) and isinstance(second, nn.BatchNorm2d):
            sequence[index] = fold_bn(first, second)
            sequence[index + 1] = nn.Identity()
