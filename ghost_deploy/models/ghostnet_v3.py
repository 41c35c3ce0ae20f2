"""GhostNet V3: Ghost modules of parallel branches, deployed as one convolution each.

Liu et al. 2024, GhostNetV3, arXiv:2404.11202; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnetv3_pytorch. Where V1 has a convolution with
batch norm, V3 trains parallel branches, see `parallel_branches`. `reparameterize` of the original
replaces them by one convolution, as `fold` does here; files of both kinds are read.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import Channels, Flag, one_of
from ghost_deploy.models.ghost_parts import (
    require_conv_bn,
    require_depthwise,
    require_ghost,
    require_normed_depthwise,
)
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1
from ghost_deploy.models.ghostnet_v2 import FIRST_WITH_ATTENTION, attend, dfc, require_dfc
from ghost_deploy.models.parallel_branches import Branches, add_branches, remove_branches

ATTENTION = "ori_shortcut_mul_conv15"

# Attributes that the original writes beside its branches, or keeps after replacing them.
_WRITTEN = frozenset({"in_channels", "groups", "kernel_size", "id_tensor", "num_conv_branches"})

# The two convolutions of a Ghost module: name of their branches, and of the merged one.
_PARTS = (("primary", "primary_conv"), ("cheap", "cheap_operation"))


class GhostModuleV3(Block):
    """y = act(p(x)); cat(y, act(c(y))), in the mode with attention cut to `oup` and gated as in V2.

    p and c are the sums of the branches `primary` and `cheap`, or `primary_conv` and
    `cheap_operation`.
    """

    origin = "Huawei GhostModule of GhostNetV3"
    harmless = _WRITTEN
    primary_rpr_skip: nn.BatchNorm2d | None
    primary_rpr_conv: nn.ModuleList | None
    primary_rpr_scale: nn.Sequential | None
    primary_activation: nn.ReLU | nn.SiLU | nn.Identity | None
    cheap_rpr_skip: nn.BatchNorm2d | None
    cheap_rpr_conv: nn.ModuleList | None
    cheap_rpr_scale: nn.Sequential | None
    cheap_activation: nn.ReLU | nn.SiLU | nn.Identity | None
    primary_conv: nn.Sequential | None
    cheap_operation: nn.Sequential | None
    short_conv: nn.Sequential | None
    gate_fn: nn.Sigmoid
    mode: Annotated[str, one_of("ori", ATTENTION)]
    oup: Channels
    infer_mode: Flag
    dconv_scale: Annotated[bool, one_of(True)] = True
    gate_loc: Annotated[str, one_of("before")] = "before"
    inter_mode: Annotated[str, one_of("nearest")] = "nearest"
    scale: Annotated[float, one_of(1.0, 1)] = 1.0

    def __init__(
        self,
        inp: int,
        oup: int,
        kernel_size: int = 1,
        ratio: int = 2,
        dw_size: int = 3,
        stride: int = 1,
        relu: bool = True,
        mode: str = "ori",
    ) -> None:
        super().__init__()
        hidden = math.ceil(oup / ratio)
        new = hidden * (ratio - 1)
        self.oup, self.mode, self.infer_mode = oup, mode, False
        self.gate_fn = nn.Sigmoid()
        self.primary_conv = self.cheap_operation = None
        self.short_conv = dfc(inp, oup, kernel_size, stride) if mode == ATTENTION else None
        keeps = inp == hidden and stride == 1
        add_branches(self, "primary", inp, hidden, kernel_size, stride, skip=keeps)
        self.primary_activation = nn.ReLU(inplace=True) if relu else None
        add_branches(self, "cheap", hidden, new, dw_size, groups=hidden, skip=hidden == new)
        self.cheap_activation = nn.ReLU(inplace=True) if relu else None

    def fit(self) -> None:
        convs = []
        for part, whole in _PARTS:
            branches, merged = Branches.of(self, part), getattr(self, whole)
            require(self.infer_mode == (branches is None), f"{part}_rpr_conv goes with training")
            require(self.infer_mode == (merged is not None), f"{whole} goes with inference")
            convs.append(branches.require_sum() if branches else require_conv_bn(merged, whole))
        require_ghost(convs[0], convs[1], self.oup)
        require_dfc(self.short_conv, self.mode == ATTENTION, self.oup)

    def fold(self) -> None:
        for part, whole in _PARTS:
            if branches := Branches.of(self, part):
                activation = getattr(self, f"{part}_activation") or nn.Identity()
                setattr(self, whole, nn.Sequential(branches.merge(), activation))
                remove_branches(self, part)
        self.infer_mode = True

    def forward(self, x: Tensor) -> Tensor:
        y = self._run("primary", self.primary_conv, x)
        joined = torch.cat((y, self._run("cheap", self.cheap_operation, y)), 1)
        if self.short_conv is None:
            # The original cuts only where it gates.
            return joined
        gated = joined if self.made == self.oup else joined[:, : self.oup]
        return attend(gated, x, self.short_conv, self.gate_fn)

    @property
    def made(self) -> int:
        """Channels before they are cut."""
        total = 0
        for part, whole in _PARTS:
            branches = Branches.of(self, part)
            conv = next((branches.conv[0] if branches else getattr(self, whole)).children())
            assert isinstance(conv, nn.Conv2d)
            total += conv.out_channels
        return total

    def _run(self, part: str, merged: nn.Module | None, x: Tensor) -> Tensor:
        """The output of one of the two convolutions, with its activation."""
        if branches := Branches.of(self, part):
            activation, y = getattr(self, f"{part}_activation"), branches(x)
        else:
            activation, y = merged, x
        result: Tensor = y if activation is None else activation(y)
        return result


class GhostBottleneckV3(GhostBottleneckV1):
    """A `GhostBottleneckV1` over modules of V3, where dw may be the sum of the branches `dw`."""

    origin = "Huawei GhostBottleneck of GhostNetV3"
    harmless = _WRITTEN
    ghost1: GhostModuleV3  # type: ignore[assignment] # called like the others
    ghost2: GhostModuleV3  # type: ignore[assignment]
    dw_rpr_skip: nn.BatchNorm2d | None
    dw_rpr_conv: nn.ModuleList | None
    dw_rpr_scale: nn.Sequential | None
    infer_mode: Flag = False
    dconv_scale: Annotated[bool, one_of(True)] = True

    def ghosts(  # type: ignore[override]
        self, in_chs: int, mid_chs: int, out_chs: int, layer_id: int
    ) -> tuple[GhostModuleV3, GhostModuleV3]:
        mode = ATTENTION if layer_id >= FIRST_WITH_ATTENTION else "ori"
        return (
            GhostModuleV3(in_chs, mid_chs, mode=mode),
            GhostModuleV3(mid_chs, out_chs, relu=False),
        )

    def add_depthwise(self, width: int, kernel: int) -> None:
        remove_branches(self, "dw")
        if self.stride > 1:
            add_branches(self, "dw", width, width, kernel, self.stride, groups=width)

    def fit(self) -> None:
        require(self.stride in (1, 2), f"stride must be 1 or 2, got {self.stride}")
        branches, merged = Branches.of(self, "dw"), self.conv_dw is not None
        one = (branches is not None) + merged == (self.stride > 1)
        require(one, "either conv_dw or dw_rpr_conv must downsample")
        if branches:
            require_depthwise(branches.require_sum(), "dw_rpr_conv")
        if self.conv_dw is not None:
            require_normed_depthwise(self.conv_dw, self.bn_dw, "conv_dw")

    def fold(self) -> None:
        super().fold()
        if branches := Branches.of(self, "dw"):
            self.conv_dw, self.bn_dw = branches.merge(), nn.Identity()
            remove_branches(self, "dw")

    def depthwise(self, y: Tensor) -> Tensor:
        branches = Branches.of(self, "dw")
        return branches(y) if branches else super().depthwise(y)
