"""GhostNet V1 as published by Huawei, and what its bottleneck shares with V2 and V3.

Han et al. 2020, GhostNet, arXiv:1911.11907; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnet_pytorch. They differ from Ultralytics'
blocks of the same names: ReLU, a 3x3 cheap operation, any ratio, and output cut to `oup` channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import (
    Channels,
    Count,
    either,
    function_named,
    none,
)

Rectifier: TypeAlias = nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish | nn.Sequential | nn.Identity
"""Activations after a batch norm; the original writes none as an empty Sequential."""


class GhostModule(Block):
    """y = act(bn(primary(x))); cat(y, act(bn(cheap(y)))) cut to `oup` channels; cheap depthwise.

    With ratio s, the primary convolution has ceil(oup / s) channels and the cheap one s - 1 for
    each of them. A file written after folding has no batch norms.
    """

    origin = "Huawei GhostModule"
    primary_conv: nn.Sequential
    cheap_operation: nn.Sequential
    oup: Channels

    def __init__(
        self,
        inp: int,
        oup: int,
        kernel_size: int = 1,
        ratio: int = 2,
        dw_size: int = 3,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        hidden = math.ceil(oup / ratio)
        new = hidden * (ratio - 1)
        self.oup = oup
        self.primary_conv = conv_bn(inp, hidden, kernel_size, stride, relu=relu)
        self.cheap_operation = conv_bn(hidden, new, dw_size, groups=hidden, relu=relu)

    def fit(self) -> None:
        primary = require_conv_bn(self.primary_conv, "primary_conv")
        cheap = require_conv_bn(self.cheap_operation, "cheap_operation")
        require_ghost(primary, cheap, self.oup)

    def ghosts(self, x: Tensor) -> Tensor:
        """Return the output before it is cut."""
        y = self.primary_conv(x)
        return torch.cat((y, self.cheap_operation(y)), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghosts(x)
        # Not the width of `y`, which is not a constant in a trace.
        made = sum(
            each.out_channels
            for part in (self.primary_conv, self.cheap_operation)
            for each in part
            if isinstance(each, nn.Conv2d)
        )
        return y if made == self.oup else y[:, : self.oup]


class _Excitation(Block):
    """Common part of the forms of squeeze and excitation."""

    avg_pool: nn.AdaptiveAvgPool2d
    conv_reduce: nn.Conv2d
    act1: nn.ReLU
    conv_expand: nn.Conv2d

    def __init__(self, channels: int, ratio: float = 0.25) -> None:
        super().__init__()
        hidden = divisible_by_4(channels * ratio)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(channels, hidden, 1)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = nn.Conv2d(hidden, channels, 1)

    def fit(self) -> None:
        require(self.avg_pool.output_size in (1, (1, 1)), "avg_pool must give one cell")
        follows = self.conv_reduce.out_channels == self.conv_expand.in_channels
        returns = self.conv_reduce.in_channels == self.conv_expand.out_channels
        require(follows and returns, "conv_reduce and conv_expand must lead back to the width")

    def excitation(self, x: Tensor) -> Tensor:
        """Return the input of the gate, (B, C, 1, 1)."""
        y: Tensor = self.conv_expand(self.act1(self.conv_reduce(self.avg_pool(x))))
        return y


class SqueezeExcite(_Excitation):
    """y = x * relu6(e + 3) / 6 with e = expand(relu(reduce(mean(x)))).

    In the original the gate is a reference to a function, `hard_sigmoid`.
    """

    origin = "Huawei SqueezeExcite"
    gate_fn: Annotated[Any, either(none, function_named("hard_sigmoid", "hardsigmoid"))] = None

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.hardsigmoid(self.excitation(x))


class SqueezeExciteGated(_Excitation):
    """y = x * gate(expand(relu(reduce(mean(x))))), where the gate is a module."""

    origin = "Huawei SqueezeExcite with a module as gate"
    gate_fn: nn.Hardsigmoid | nn.Sigmoid

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate_fn(self.excitation(x))
        return x * gate


class GhostBottleneckV1(Block):
    """G-bneck: y = ghost2(se(dw(ghost1(x)))) + shortcut(x); dw where stride > 1, se where present.

    dw is depthwise with a batch norm and no activation; ghost2 has no last activation. The
    shortcut is the identity, or depthwise then pointwise, each with a batch norm.
    """

    origin = "Huawei GhostBottleneck V1"
    folds = (("conv_dw", "bn_dw"),)
    ghost1: GhostModule
    conv_dw: nn.Conv2d | None
    bn_dw: nn.BatchNorm2d | nn.Identity | None
    se: SqueezeExcite | SqueezeExciteGated | None
    ghost2: GhostModule
    shortcut: nn.Sequential | nn.Identity
    stride: Count

    def __init__(
        self,
        in_chs: int,
        mid_chs: int,
        out_chs: int,
        dw_kernel_size: int = 3,
        stride: int = 1,
        se_ratio: float = 0.0,
        layer_id: int = 0,
    ) -> None:
        super().__init__()
        k = dw_kernel_size
        self.stride = stride
        self.ghost1, self.ghost2 = self.ghosts(in_chs, mid_chs, out_chs, layer_id)
        self.conv_dw = self.bn_dw = None
        if stride > 1:
            self.conv_dw, self.bn_dw = raw_pair(mid_chs, mid_chs, k, stride, groups=mid_chs)
        self.se = SqueezeExcite(mid_chs, se_ratio) if se_ratio else None
        self.shortcut = shortcut(in_chs, out_chs, k, stride)

    def ghosts(
        self, in_chs: int, mid_chs: int, out_chs: int, layer_id: int
    ) -> tuple[GhostModule, GhostModule]:
        """Create the two Ghost modules of a bottleneck.

        Args:
            in_chs, mid_chs, out_chs: channels before, between and after them.
            layer_id: index of the bottleneck in its backbone.
        """
        return GhostModule(in_chs, mid_chs), GhostModule(mid_chs, out_chs, relu=False)

    def fit(self) -> None:
        downsamples = self.stride > 1
        require(self.stride in (1, 2), f"stride must be 1 or 2, got {self.stride}")
        require((self.conv_dw is not None) == downsamples, "conv_dw goes with a stride of 2")
        require((self.bn_dw is not None) == downsamples, "bn_dw goes with conv_dw")
        if self.conv_dw is not None:
            require_normed_depthwise(self.conv_dw, self.bn_dw, "conv_dw")

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost1(x)
        if self.conv_dw is not None and self.bn_dw is not None:
            y = self.bn_dw(self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        total: Tensor = self.ghost2(y) + self.shortcut(x)
        return total


def shortcut(in_chs: int, out_chs: int, kernel: int, stride: int) -> nn.Sequential:
    """Create the shortcut of a bottleneck; empty where width and size are kept.

    Args:
        in_chs, out_chs: input and output channels.
        kernel, stride: of its depthwise convolution.
    """
    if stride == 1 and in_chs == out_chs:
        return nn.Sequential()
    return nn.Sequential(
        *raw_pair(in_chs, in_chs, kernel, stride, groups=in_chs), *raw_pair(in_chs, out_chs, 1)
    )


def raw_pair(
    inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Create a convolution without bias, padded by kernel // 2, and a batch norm of torch's eps.

    Args:
        inp, oup: input and output channels.
        kernel, stride, groups: of the convolution.
    """
    conv = nn.Conv2d(inp, oup, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(oup)


def conv_bn(
    inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Create convolution, batch norm and activation.

    Args:
        inp, oup, kernel, stride, groups: see `raw_pair`.
        relu: end in ReLU, else in an empty Sequential.
    """
    last = nn.ReLU(inplace=True) if relu else nn.Sequential()
    return nn.Sequential(*raw_pair(inp, oup, kernel, stride, groups=groups), last)


def require_conv_bn(part: nn.Sequential, name: str) -> nn.Conv2d:
    """Require the parts of `conv_bn`; return the convolution.

    A file written after re-parameterization has a convolution with bias and no batch norm.

    Raises:
        MisfitError: the parts are others.
    """
    kinds = [type(member).__name__ for member in part]
    members = list(part)
    conv = members[0] if members else None
    fused = isinstance(conv, nn.Conv2d) and conv.bias is not None
    normed = len(members) == 3 and isinstance(members[1], nn.BatchNorm2d | nn.Identity)
    fits = isinstance(conv, nn.Conv2d) and (normed or (fused and len(members) == 2))
    last_fits = bool(members) and isinstance(members[-1], Rectifier)
    require(fits and last_fits, f"{name} must be Conv2d, BatchNorm2d, activation, got {kinds}")
    if isinstance(members[-1], nn.Sequential):
        require(len(members[-1]) == 0, f"{name} must end in an activation or an empty Sequential")
    assert isinstance(conv, nn.Conv2d)
    return conv


def require_pairs(parts: Sequence[nn.Module], name: str) -> list[nn.Conv2d]:
    """Require pairs of Conv2d and BatchNorm2d; return the convolutions.

    A folded batch norm is replaced by an identity.

    Raises:
        MisfitError: there are other parts.
    """
    kinds = [type(part).__name__ for part in parts]
    convs = [conv for conv in parts[::2] if isinstance(conv, nn.Conv2d)]
    norms = parts[1::2]
    fits = len(convs) == len(norms) == len(parts) / 2 and all(
        isinstance(norm, nn.BatchNorm2d)
        or (isinstance(norm, nn.Identity) and conv.bias is not None)
        for conv, norm in zip(convs, norms, strict=True)
    )
    require(fits, f"{name} must be pairs of Conv2d, BatchNorm2d, got {kinds}")
    return convs


def require_ghost(primary: nn.Conv2d, cheap: nn.Conv2d, oup: int) -> None:
    """Require two convolutions that form a Ghost module.

    Args:
        primary, cheap: its two convolutions.
        oup: channels of its output.

    Raises:
        MisfitError: they do not.
    """
    require(cheap.in_channels == primary.out_channels, "the cheap operation must follow the other")
    require_depthwise(cheap, "the cheap operation")
    total = primary.out_channels + cheap.out_channels
    require(oup <= total, f"oup is {oup}, but there are {total} channels")


def require_depthwise(conv: nn.Conv2d, name: str) -> None:
    """Raise `MisfitError` unless each group of a convolution has one input channel."""
    require(conv.groups == conv.in_channels, f"{name} must be depthwise")


def require_normed_depthwise(conv: nn.Conv2d, bn: nn.Module | None, name: str) -> None:
    """Require a depthwise convolution with a batch norm, folded or not.

    Args:
        conv: the convolution.
        bn: its batch norm; another module or None if it was folded.
        name: of the convolution, for the error message.

    Raises:
        MisfitError: it is not.
    """
    require_depthwise(conv, name)
    normed = isinstance(bn, nn.BatchNorm2d) or conv.bias is not None
    require(normed, f"{name} has no batch norm")


def divisible_by_4(value: float) -> int:
    """Round to the nearest multiple of 4 that is at least 4 and at least 0.9 * value."""
    nearest = max(4, int(value + 2) // 4 * 4)
    return nearest + 4 if nearest < 0.9 * value else nearest
