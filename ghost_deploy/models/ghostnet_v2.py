"""GhostNet V2: Ghost modules gated by decoupled fully connected (DFC) attention.

Tang et al. 2022, GhostNetV2, arXiv:2211.12905; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnetv2_pytorch.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import Conv, DWConv
from ghost_deploy.models.fields import one_of
from ghost_deploy.models.ghost import GhostConv
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1, GhostModule, require_pairs

__all__ = ["GhostBottleneckV2", "GhostConvBottleneckV2", "GhostConvV2", "GhostModuleV2"]

FIRST_WITH_ATTENTION = 2
"""Bottlenecks of a backbone before this one have no attention."""


class GhostModuleV2(GhostModule):
    """A `GhostModule`, in mode `attn` times up(gate(short_conv(pool(x)))) of the module's input.

    pool averages 2x2 cells; short_conv is a convolution, then depthwise 1x5 and 5x1, each with a
    batch norm and no activation; the gate is a sigmoid; up repeats cells to the output's size.
    """

    origin = "Huawei GhostModuleV2"
    gate_fn: nn.Sigmoid | nn.Hardsigmoid
    short_conv: nn.Sequential | None
    mode: Annotated[str | None, one_of("original", "attn", "ori", None)]

    def __init__(
        self,
        inp: int,
        oup: int,
        kernel_size: int = 1,
        ratio: int = 2,
        dw_size: int = 3,
        stride: int = 1,
        relu: bool = True,
        mode: str | None = "original",
    ) -> None:
        super().__init__(inp, oup, kernel_size, ratio, dw_size, stride, relu)
        self.mode = mode
        self.gate_fn = nn.Sigmoid()
        self.short_conv = dfc(inp, oup, kernel_size, stride) if mode == "attn" else None

    def fit(self) -> None:
        super().fit()
        require_dfc(self.short_conv, self.mode == "attn", self.oup)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if self.short_conv is None else attend(y, x, self.short_conv, self.gate_fn)


class GhostBottleneckV2(GhostBottleneckV1):
    """A `GhostBottleneckV1` over modules of V2, the first with attention or without."""

    origin = "Huawei GhostBottleneckV2"
    ghost1: GhostModuleV2
    ghost2: GhostModuleV2

    def ghosts(
        self, in_chs: int, mid_chs: int, out_chs: int, layer_id: int
    ) -> tuple[GhostModuleV2, GhostModuleV2]:
        mode = "attn" if layer_id >= FIRST_WITH_ATTENTION else "original"
        return (
            GhostModuleV2(in_chs, mid_chs, mode=mode),
            GhostModuleV2(mid_chs, out_chs, relu=False),
        )


class GhostConvV2(GhostConv):
    """An Ultralytics `GhostConv`, in mode `attn` gated as `GhostModuleV2` is."""

    origin = "fork GhostConvV2: Ultralytics GhostConv with Huawei's DFC attention"
    gate_fn: nn.Sigmoid | nn.Hardsigmoid
    short_conv: nn.Sequential | None
    mode: Annotated[str | None, one_of("original", "attn", "ori", None)]

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        g: int = 1,
        act: bool = True,
        mode: str | None = None,
    ) -> None:
        super().__init__(c1, c2, k, s, g, act)
        self.mode = mode
        self.gate_fn = nn.Sigmoid()
        self.short_conv = dfc(c1, c2, k, s) if mode == "attn" else None

    def fit(self) -> None:
        super().fit()
        require_dfc(self.short_conv, self.mode == "attn", self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if self.short_conv is None else attend(y, x, self.short_conv, self.gate_fn)


class GhostConvBottleneckV2(Block):
    """y = conv(x) + shortcut(x): an Ultralytics `GhostBottleneck` over `GhostConvV2`."""

    origin = "fork GhostBottleneckV2: Ultralytics GhostBottleneck with DFC attention"
    conv: nn.Sequential
    shortcut: nn.Sequential | nn.Identity

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        strided = s == 2
        self.conv = nn.Sequential(
            GhostConvV2(c1, hidden, mode="attn"),
            DWConv(hidden, hidden, k, s, act=False) if strided else nn.Identity(),
            GhostConvV2(hidden, c2, act=False),
        )
        self.shortcut = (
            nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, act=False))
            if strided
            else nn.Identity()
        )

    def fit(self) -> None:
        kinds = [type(part).__name__ for part in self.conv]
        fits = (
            len(kinds) == 3
            and isinstance(self.conv[0], GhostConvV2)
            and isinstance(self.conv[1], Conv | nn.Identity)
            and isinstance(self.conv[2], GhostConvV2)
        )
        require(fits, f"conv must be GhostConvV2, DWConv or Identity, GhostConvV2, got {kinds}")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + self.shortcut(x)
        return y


def dfc(inp: int, oup: int, kernel: int, stride: int) -> nn.Sequential:
    """The convolutions of the attention branch."""
    return nn.Sequential(
        nn.Conv2d(inp, oup, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(oup),
        nn.Conv2d(oup, oup, (1, 5), 1, (0, 2), groups=oup, bias=False),
        nn.BatchNorm2d(oup),
        nn.Conv2d(oup, oup, (5, 1), 1, (2, 0), groups=oup, bias=False),
        nn.BatchNorm2d(oup),
    )


def require_dfc(branch: nn.Sequential | None, wanted: bool, width: int) -> None:
    """Raise `MisfitError` unless the attention branch is there as wanted and of that width."""
    require((branch is not None) == wanted, "short_conv goes with the mode attn")
    if branch is None:
        return
    convs = require_pairs(list(branch), "short_conv")
    require(len(convs) == 3, f"short_conv must have three convolutions, got {len(convs)}")
    require(convs[-1].out_channels == width, f"short_conv must give {width} channels")


def attend(y: Tensor, x: Tensor, branch: nn.Sequential, gate: nn.Module) -> Tensor:
    """`y` times the gate that the attention branch makes of `x`."""
    weights: Tensor = gate(branch(functional.avg_pool2d(x, kernel_size=2, stride=2)))
    size = (y.shape[-2], y.shape[-1])
    repeated: Tensor = functional.interpolate(weights, size=size, mode="nearest")
    return torch.mul(y, repeated)
