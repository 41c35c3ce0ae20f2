"""GhostNet V1 as published by Huawei.

Han et al. 2020, GhostNet, arXiv:1911.11907; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnet_pytorch. They differ from Ultralytics'
blocks of the same names: ReLU, a 3x3 cheap operation, any ratio, and output cut to `oup` channels.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.feature_gate import FeatureGate
from ghost_deploy.models.fields import Channels, Count, either, function_named, none
from ghost_deploy.models.ghost_parts import (
    conv_bn,
    divisible_by_4,
    raw_pair,
    require_conv_bn,
    require_ghost,
    require_normed_depthwise,
    shortcut,
)


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


class _Excitation(FeatureGate):
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

    @property
    def width(self) -> int | None:
        return self.conv_reduce.in_channels

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
        self.add_depthwise(mid_chs, k)
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

    def add_depthwise(self, width: int, kernel: int) -> None:
        """Create the depthwise convolution that carries a stride above 1."""
        if self.stride > 1:
            self.conv_dw, self.bn_dw = raw_pair(width, width, kernel, self.stride, groups=width)

    def fit(self) -> None:
        downsamples = self.stride > 1
        require(self.stride in (1, 2), f"stride must be 1 or 2, got {self.stride}")
        require((self.conv_dw is not None) == downsamples, "conv_dw goes with a stride of 2")
        require((self.bn_dw is not None) == downsamples, "bn_dw goes with conv_dw")
        if self.conv_dw is not None:
            require_normed_depthwise(self.conv_dw, self.bn_dw, "conv_dw")

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.ghost1(x))
        if self.se is not None:
            y = self.se(y)
        total: Tensor = self.ghost2(y) + self.shortcut(x)
        return total

    def depthwise(self, y: Tensor) -> Tensor:
        """Apply the depthwise convolution, where there is one."""
        if self.conv_dw is not None:
            y = self.conv_dw(y)
            y = y if self.bn_dw is None else self.bn_dw(y)
        return y
