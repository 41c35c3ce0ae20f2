"""Parallel branches of convolution and batch norm that add up to one convolution.

GhostNetV3 trains the sum of several equal pairs, of a pair of kernel 1 and, where width and size
are kept, of a batch norm alone (Liu et al. 2024, arXiv:2404.11202, section 3.1).
"""

from __future__ import annotations

from torch import Tensor, nn

from ghost_deploy.models.block import expect_each, require
from ghost_deploy.models.fold import add_norm, add_up, fold_bn, padding_of
from ghost_deploy.models.ghostnet_v1 import raw_pair, require_pairs
from ghost_deploy.models.reparam import require_parallel

__all__ = ["branches", "merge", "pair", "require_branches", "run", "total"]

BRANCHES = 3
"""Equal branches of a new block, as in the original."""


def pair(inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    """One branch: convolution and batch norm, under the names `conv` and `bn`."""
    branch = nn.Sequential()
    conv, bn = raw_pair(inp, oup, kernel, stride, groups=groups)
    branch.add_module("conv", conv)
    branch.add_module("bn", bn)
    return branch


def branches(inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.ModuleList:
    """The equal branches of a new block."""
    return nn.ModuleList(pair(inp, oup, kernel, stride, groups=groups) for _ in range(BRANCHES))


def require_branches(
    many: nn.ModuleList, scale: nn.Sequential | None, skip: nn.BatchNorm2d | None
) -> nn.Conv2d:
    """The convolution of the first branch; `MisfitError` unless all add up to one."""
    require(len(many) > 0, "there must be at least one branch")
    expect_each(many, nn.Sequential)
    convs = [_conv_of(branch) for branch in [*many, *([] if scale is None else [scale])]]
    for other in convs[1:]:
        require_parallel(convs[0], other)
    if skip is not None:
        first = convs[0]
        keeps = first.in_channels == first.out_channels == skip.num_features
        sides = zip(first.kernel_size, padding_of(first), strict=True)
        centred = all(kernel == 2 * padding + 1 for kernel, padding in sides)
        unmoved = {*first.stride, *first.dilation} == {1}
        require(keeps and centred and unmoved, "a skip must keep width and size")
    return convs[0]


def _conv_of(branch: nn.Module) -> nn.Conv2d:
    convs = require_pairs(list(branch.children()), "a branch")
    require(len(convs) == 1, "a branch must be one pair of Conv2d, BatchNorm2d")
    require(convs[0].padding_mode == "zeros", "a branch must pad with zeros")
    return convs[0]


def merge(
    many: nn.ModuleList, scale: nn.Sequential | None, skip: nn.BatchNorm2d | None
) -> nn.Conv2d:
    """One convolution that computes the sum of the branches."""
    folded = [_folded(branch) for branch in [*many, *([] if scale is None else [scale])]]
    merged = folded[0]
    for other in folded[1:]:
        merged = add_up(merged, other)
    return merged if skip is None else add_norm(merged, skip)


def _folded(branch: nn.Module) -> nn.Conv2d:
    conv, bn = branch.children()
    assert isinstance(conv, nn.Conv2d)
    if not isinstance(bn, nn.BatchNorm2d):
        return conv
    folded = fold_bn(conv, bn)
    assert isinstance(folded, nn.Conv2d)
    return folded


def total(
    x: Tensor, many: nn.ModuleList, scale: nn.Sequential | None, skip: nn.BatchNorm2d | None
) -> Tensor:
    """The sum of the branches, in the order of the original."""
    terms = [branch for branch in (scale, skip, *many) if branch is not None]
    y: Tensor = terms[0](x)
    for branch in terms[1:]:
        y = y + branch(x)
    return y


def run(module: nn.Module | None, x: Tensor) -> Tensor:
    """`module(x)`, or `x` where there is none."""
    return x if module is None else module(x)
