"""A network for inference: every batch norm folded into the convolution before it."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn

from ghost_deploy.models.block import Block
from ghost_deploy.models.fold import Convolution, fold_bn

__all__ = ["fuse"]

M = TypeVar("M", bound=nn.Module)


def fuse(net: M) -> M:
    """A deep copy of `net` that computes the same, up to rounding, with fewer layers.

    Folds the pairs that a block declares (`Block.fold`) and every `Conv2d` or `ConvTranspose2d`
    that is followed by a `BatchNorm2d` in a `Sequential`, which Ultralytics leaves as they are.
    The folded batch norm's place is taken by an identity.
    """
    fused = copy.deepcopy(net)
    # Innermost first: a block that merges its branches finds them folded already.
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
