"""Folding a batch norm into the convolution before it, exactly up to rounding.

In eval mode a batch norm is y = (x - mean) * weight / sqrt(var + eps) + bias, per channel: a
scale and a shift, which a convolution can carry in its own weight and bias (Jacob et al. 2018,
arXiv:1712.05877, section 3.2). The products are formed in float64 and rounded once.
"""

from __future__ import annotations

import copy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ghost_deploy.models.fields import MisfitError

__all__ = ["Convolution", "bn_scale_shift", "fold_bn"]

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


def bn_scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(scale, shift) of each channel, float64 (C,), such that bn(x) = scale * x + shift."""
    if bn.running_mean is None or bn.running_var is None:
        raise MisfitError("a batch norm without running statistics cannot be folded")
    scale = torch.rsqrt(bn.running_var.double() + bn.eps)
    # Both are None without `affine`, which torch's type stubs do not say.
    weight: Tensor | None = bn.weight
    bias: Tensor | None = bn.bias
    if weight is not None:
        scale = scale * weight.double()
    shift = -bn.running_mean.double() * scale
    return scale, shift if bias is None else shift + bias.double()


def fold_bn(conv: Convolution, bn: nn.BatchNorm2d) -> Convolution:
    """A convolution with bias that computes bn(conv(x)); the two given ones stay as they are."""
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.double()
    if isinstance(conv, nn.ConvTranspose2d):
        # Weight (in, out / groups, kh, kw): the output channels of a group lie on axis 1.
        by_group = weight.view(conv.groups, -1, *weight.shape[1:])
        scaled = (by_group * scale.view(conv.groups, 1, -1, 1, 1)).view_as(weight)
    else:
        scaled = weight * scale.view(-1, 1, 1, 1)
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    folded = copy.deepcopy(conv)
    dtype = conv.weight.dtype
    folded.weight = nn.Parameter(scaled.to(dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return folded
