"""GhostNet V3: Ghost modules of many parallel branches, which deploy as one convolution each.

Liu et al. 2024, GhostNetV3, arXiv:2404.11202; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnetv3_pytorch. Wherever V1 has a convolution
with batch norm, V3 trains the sum of several such pairs, of a pair of kernel 1 and, where width
and size are kept, of a batch norm alone. `reparameterize` of the original replaces all of that by
one convolution; `fold` does the same here, and files of both kinds are read.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import Channels, Count, Flag, one_of
from ghost_deploy.models.ghostnet_v1 import (
    SqueezeExcite,
    SqueezeExciteGated,
    require_conv_bn,
    require_depthwise,
    require_ghost,
    shortcut,
)
from ghost_deploy.models.ghostnet_v2 import FIRST_WITH_ATTENTION, attend, dfc, require_dfc
from ghost_deploy.models.parallel_branches import (
    branches,
    merge,
    pair,
    require_branches,
    run,
    total,
)

__all__ = ["GhostBottleneckV3", "GhostModuleV3"]

ATTENTION = "ori_shortcut_mul_conv15"

# What the original writes beside its branches, and what it keeps after it replaced them.
_WRITTEN = frozenset({"in_channels", "groups", "kernel_size", "id_tensor", "num_conv_branches"})


class GhostModuleV3(Block):
    """y = act(p(x)); cat(y, act(c(y))), cut to `oup` and gated as in V2 in the mode with attention.

    p and c are sums of branches: `*_rpr_conv`, `*_rpr_scale` of kernel 1, `*_rpr_skip` a batch
    norm; or `primary_conv` and `cheap_operation` alone.
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
        self.primary_rpr_skip = nn.BatchNorm2d(inp) if keeps else None
        self.primary_rpr_conv = branches(inp, hidden, kernel_size, stride)
        scale = kernel_size > 1
        self.primary_rpr_scale = pair(inp, hidden, 1, stride) if scale else None
        self.primary_activation = nn.ReLU(inplace=True) if relu else None
        self.cheap_rpr_skip = nn.BatchNorm2d(hidden) if hidden == new else None
        self.cheap_rpr_conv = branches(hidden, new, dw_size, groups=hidden)
        self.cheap_rpr_scale = pair(hidden, new, 1, groups=hidden) if dw_size > 1 else None
        self.cheap_activation = nn.ReLU(inplace=True) if relu else None

    def fit(self) -> None:
        convs = []
        for part, whole in (("primary", "primary_conv"), ("cheap", "cheap_operation")):
            skip, many, scale = (
                getattr(self, f"{part}_rpr_{x}") for x in ("skip", "conv", "scale")
            )
            merged = getattr(self, whole)
            require(self.infer_mode == (many is None), f"{part}_rpr_conv goes with training")
            require(self.infer_mode == (merged is not None), f"{whole} goes with inference")
            if merged is not None:
                require(skip is None and scale is None, f"beside {whole} there are no branches")
                convs.append(require_conv_bn(merged, whole))
            else:
                convs.append(require_branches(many, scale, skip))
        require_ghost(convs[0], convs[1], self.oup)
        require_dfc(self.short_conv, self.mode == ATTENTION, self.oup)

    def fold(self) -> None:
        if self.infer_mode:
            return
        assert self.primary_rpr_conv is not None
        assert self.cheap_rpr_conv is not None
        self.primary_conv = nn.Sequential(
            merge(self.primary_rpr_conv, self.primary_rpr_scale, self.primary_rpr_skip),
            self.primary_activation or nn.Identity(),
        )
        self.cheap_operation = nn.Sequential(
            merge(self.cheap_rpr_conv, self.cheap_rpr_scale, self.cheap_rpr_skip),
            self.cheap_activation or nn.Identity(),
        )
        self.primary_rpr_conv = self.primary_rpr_scale = self.primary_rpr_skip = None
        self.cheap_rpr_conv = self.cheap_rpr_scale = self.cheap_rpr_skip = None
        self.infer_mode = True

    def forward(self, x: Tensor) -> Tensor:
        y = self._primary(x)
        joined = torch.cat((y, self._cheap(y)), 1)
        if self.short_conv is None:
            # The original cuts only where it gates.
            return joined
        gated = joined if self.made == self.oup else joined[:, : self.oup]
        return attend(gated, x, self.short_conv, self.gate_fn)

    @property
    def made(self) -> int:
        """Channels before they are cut."""
        if self.primary_rpr_conv is not None and self.cheap_rpr_conv is not None:
            parts = [self.primary_rpr_conv[0], self.cheap_rpr_conv[0]]
        else:
            parts = [part for part in (self.primary_conv, self.cheap_operation) if part is not None]
        convs = [next(part.children()) for part in parts]
        return sum(conv.out_channels for conv in convs if isinstance(conv, nn.Conv2d))

    def _primary(self, x: Tensor) -> Tensor:
        if self.primary_rpr_conv is None:
            return run(self.primary_conv, x)
        y = total(x, self.primary_rpr_conv, self.primary_rpr_scale, self.primary_rpr_skip)
        return run(self.primary_activation, y)

    def _cheap(self, x: Tensor) -> Tensor:
        if self.cheap_rpr_conv is None:
            return run(self.cheap_operation, x)
        y = total(x, self.cheap_rpr_conv, self.cheap_rpr_scale, self.cheap_rpr_skip)
        return run(self.cheap_activation, y)


class GhostBottleneckV3(Block):
    """G-bneck over modules of V3: y = ghost2(se(dw(ghost1(x)))) + shortcut(x).

    dw, where stride > 1, is a sum of branches `dw_rpr_*`, or `conv_dw` alone.
    """

    origin = "Huawei GhostBottleneck of GhostNetV3"
    folds = (("conv_dw", "bn_dw"),)
    harmless = _WRITTEN
    ghost1: GhostModuleV3
    dw_rpr_skip: nn.BatchNorm2d | None
    dw_rpr_conv: nn.ModuleList | None
    dw_rpr_scale: nn.Sequential | None
    conv_dw: nn.Conv2d | None
    bn_dw: nn.BatchNorm2d | nn.Identity | None
    se: SqueezeExcite | SqueezeExciteGated | None
    ghost2: GhostModuleV3
    shortcut: nn.Sequential | nn.Identity
    stride: Count
    infer_mode: Flag = False
    dconv_scale: Annotated[bool, one_of(True)] = True

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
        self.stride, self.infer_mode = stride, False
        mode = ATTENTION if layer_id >= FIRST_WITH_ATTENTION else "ori"
        self.ghost1 = GhostModuleV3(in_chs, mid_chs, mode=mode)
        self.ghost2 = GhostModuleV3(mid_chs, out_chs, relu=False)
        self.conv_dw = self.bn_dw = self.dw_rpr_skip = self.dw_rpr_conv = self.dw_rpr_scale = None
        if stride > 1:
            self.dw_rpr_conv = branches(mid_chs, mid_chs, k, stride, groups=mid_chs)
            self.dw_rpr_scale = pair(mid_chs, mid_chs, 1, stride, groups=mid_chs)
        self.se = SqueezeExcite(mid_chs, se_ratio) if se_ratio else None
        self.shortcut = shortcut(in_chs, out_chs, k, stride)

    def fit(self) -> None:
        require(self.stride in (1, 2), f"stride must be 1 or 2, got {self.stride}")
        merged, many = self.conv_dw is not None, self.dw_rpr_conv is not None
        require(merged + many == (self.stride > 1), "it is conv_dw or dw_rpr_conv that downsamples")
        if self.dw_rpr_conv is not None:
            conv = require_branches(self.dw_rpr_conv, self.dw_rpr_scale, self.dw_rpr_skip)
            require_depthwise(conv, "dw_rpr_conv")
        else:
            require(
                self.dw_rpr_scale is None and self.dw_rpr_skip is None, "dw_rpr_conv is missing"
            )
        if self.conv_dw is not None:
            require_depthwise(self.conv_dw, "conv_dw")
            normed = isinstance(self.bn_dw, nn.BatchNorm2d)
            require(normed or self.conv_dw.bias is not None, "conv_dw has no batch norm")

    def fold(self) -> None:
        super().fold()
        if self.dw_rpr_conv is not None:
            self.conv_dw = merge(self.dw_rpr_conv, self.dw_rpr_scale, self.dw_rpr_skip)
            self.bn_dw = nn.Identity()
            self.dw_rpr_conv = self.dw_rpr_scale = self.dw_rpr_skip = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost1(x)
        if self.dw_rpr_conv is not None:
            y = total(y, self.dw_rpr_conv, self.dw_rpr_scale, self.dw_rpr_skip)
        elif self.conv_dw is not None:
            y = run(self.bn_dw, self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        result: Tensor = self.ghost2(y) + self.shortcut(x)
        return result
