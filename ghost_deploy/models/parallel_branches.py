"""Parallel branches of convolution and batch norm that add up to one convolution.

GhostNetV3 trains the sum of several equal pairs, a pair of kernel 1 and, where width and size are
kept, a batch norm alone (Liu et al. 2024, arXiv:2404.11202, section 3.1). A block has them under
the names `NAME_rpr_conv`, `NAME_rpr_scale` and `NAME_rpr_skip`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ghost_deploy.models.block import expect_each, require
from ghost_deploy.models.fold import add_norm, add_up, fold_bn, padding_of
from ghost_deploy.models.ghost_parts import raw_pair, require_pairs
from ghost_deploy.models.reparam import require_parallel

BRANCHES = 3
"""Equal branches of a new block, as in the original."""


class Branches(NamedTuple):
    """The parallel branches of a block under one name."""

    conv: nn.ModuleList
    scale: nn.Sequential | None
    skip: nn.BatchNorm2d | None

    @classmethod
    def of(cls, block: nn.Module, name: str) -> Branches | None:
        """Return the branches `name` of a block; None after re-parameterization.

        Raises:
            MisfitError: there are other branches, but no convolutions.
        """
        conv, scale, skip = (getattr(block, f"{name}_rpr_{part}") for part in cls._fields)
        if conv is None:
            require(scale is None and skip is None, f"{name}_rpr_conv is missing")
            return None
        return cls(conv, scale, skip)

    @property
    def pairs(self) -> list[nn.Module]:
        """All branches with a convolution."""
        return [*self.conv, *([] if self.scale is None else [self.scale])]

    def require_sum(self) -> nn.Conv2d:
        """Require that the branches add up to one convolution; return the first convolution.

        Raises:
            MisfitError: they do not.
        """
        require(len(self.conv) > 0, "there must be at least one branch")
        expect_each(self.conv, nn.Sequential)
        first, *others = (_conv_of(branch) for branch in self.pairs)
        for other in others:
            require_parallel(first, other)
        if self.skip is not None:
            keeps = first.in_channels == first.out_channels == self.skip.num_features
            sides = zip(first.kernel_size, padding_of(first), strict=True)
            centred = all(kernel == 2 * padding + 1 for kernel, padding in sides)
            unmoved = {*first.stride, *first.dilation} == {1}
            require(keeps and centred and unmoved, "a skip must keep width and size")
        return first

    def merge(self) -> nn.Conv2d:
        """Return one convolution that computes the sum of the branches."""
        merged, *others = (_folded(branch) for branch in self.pairs)
        for other in others:
            merged = add_up(merged, other)
        return merged if self.skip is None else add_norm(merged, self.skip)

    def __call__(self, x: Tensor) -> Tensor:
        """Sum of the branches, in the order of the original."""
        first, *others = (each for each in (self.scale, self.skip, *self.conv) if each is not None)
        y: Tensor = first(x)
        for branch in others:
            y = y + branch(x)
        return y


def add_branches(
    block: nn.Module,
    name: str,
    inp: int,
    oup: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    skip: bool = False,
) -> None:
    """Set new branches `name` of a block.

    Args:
        block: whose attributes are set.
        name: prefix of the attributes.
        inp, oup: input and output channels.
        kernel, stride, groups: of the equal branches; a kernel above 1 adds a branch of kernel 1.
        skip: add a batch norm alone.
    """
    equal = nn.ModuleList(_pair(inp, oup, kernel, stride, groups) for _ in range(BRANCHES))
    scale = _pair(inp, oup, 1, stride, groups) if kernel > 1 else None
    for part, value in zip(
        Branches._fields, (equal, scale, nn.BatchNorm2d(inp) if skip else None), strict=True
    ):
        setattr(block, f"{name}_rpr_{part}", value)


def remove_branches(block: nn.Module, name: str) -> None:
    """Set the branches `name` of a block to None."""
    for part in Branches._fields:
        setattr(block, f"{name}_rpr_{part}", None)


def _pair(inp: int, oup: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    """Convolution and batch norm, under the names `conv` and `bn`."""
    branch = nn.Sequential()
    for name, part in zip(
        ("conv", "bn"), raw_pair(inp, oup, kernel, stride, groups=groups), strict=True
    ):
        branch.add_module(name, part)
    return branch


def _conv_of(branch: nn.Module) -> nn.Conv2d:
    convs = require_pairs(list(branch.children()), "a branch")
    require(len(convs) == 1, "a branch must be one pair of Conv2d, BatchNorm2d")
    require(convs[0].padding_mode == "zeros", "a branch must pad with zeros")
    return convs[0]


def _folded(branch: nn.Module) -> nn.Conv2d:
    conv, bn = branch.children()
    folded = fold_bn(conv, bn) if isinstance(bn, nn.BatchNorm2d) else conv  # type: ignore[arg-type]
    assert isinstance(folded, nn.Conv2d)
    return folded
