"""Folding batch norms and parallel branches into one convolution, exactly up to rounding.

In eval mode a batch norm is y = (x - mean) * weight / sqrt(var + eps) + bias, per channel: a
scale and a shift, which can be part of the weight and bias of a convolution (Jacob et al. 2018,
arXiv:1712.05877, section 3.2). Convolutions of one input add up to the convolution with the sum of
their kernels (Ding et al. 2021, arXiv:2101.03697). Both are computed in float64 and rounded once.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.copy_module import copy_module
from ghost_deploy.models.fields import MisfitError

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


def bn_scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (scale, shift), float64 (C,) each, such that bn(x) = scale * x + shift."""
    if bn.running_mean is None or bn.running_var is None:
        raise MisfitError("a batch norm without running statistics cannot be folded")
    scale = torch.rsqrt(bn.running_var.double() + bn.eps)
    # Both are None without `affine`, contrary to torch's type stubs.
    weight: Tensor | None = bn.weight
    bias: Tensor | None = bn.bias
    if weight is not None:
        scale = scale * weight.double()
    shift = -bn.running_mean.double() * scale
    return scale, shift if bias is None else shift + bias.double()


def fold_bn(conv: Convolution, bn: nn.BatchNorm2d) -> Convolution:
    """Return a convolution with bias that computes bn(conv(x)); the arguments are not changed."""
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.double()
    if isinstance(conv, nn.ConvTranspose2d):
        # Weight (in, out / groups, kh, kw): the output channels of a group lie on axis 1.
        by_group = weight.view(conv.groups, -1, *weight.shape[1:])
        scaled = (by_group * scale.view(conv.groups, 1, -1, 1, 1)).view_as(weight)
    else:
        scaled = weight * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    folded = copy_module(conv)
    dtype = conv.weight.dtype
    folded.weight = nn.Parameter(scaled.to(dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return folded


def add_up(wide: nn.Conv2d, narrow: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution that computes wide(x) + narrow(x), with a bias if one of them has it.

    The sum is computed in float64 and rounded once. The arguments are not changed.
    """
    rows, columns = margins(wide, narrow)
    weight = wide.weight.double() + functional.pad(
        narrow.weight.double(), (columns, columns, rows, rows)
    )
    merged = copy_module(wide)
    merged.weight = nn.Parameter(weight.to(wide.weight.dtype), requires_grad=False)
    biases = [conv.bias.double() for conv in (wide, narrow) if conv.bias is not None]
    if biases:
        bias = torch.stack(biases).sum(0).to(wide.weight.dtype)
        merged.bias = nn.Parameter(bias, requires_grad=False)
    return merged


def add_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a convolution that computes conv(x) + bn(x), for stride 1 and equal widths."""
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.double().clone()
    centre = tuple(side // 2 for side in conv.kernel_size)
    for channel, gain in enumerate(scale):
        weight[channel, channel % weight.shape[1], centre[0], centre[1]] += gain
    merged = copy_module(conv)
    merged.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    bias = shift if conv.bias is None else shift + conv.bias.double()
    merged.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return merged


def margins(wide: nn.Conv2d, narrow: nn.Conv2d) -> tuple[int, int]:
    """Return the rows and columns of zeros around the narrow kernel."""
    (top, left), (rows, columns) = padding_of(wide), padding_of(narrow)
    return top - rows, left - columns


def padding_of(conv: nn.Conv2d) -> tuple[int, int]:
    """Return the rows and columns of zero padding on each side.

    Raises:
        MisfitError: the padding is given by name.
    """
    if isinstance(conv.padding, str):
        raise MisfitError("a convolution that is added to another must pad by a number of cells")
    rows, columns = conv.padding
    return rows, columns
