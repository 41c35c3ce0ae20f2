"""GhostNet V2: Ghost modules gated by decoupled fully connected (DFC) attention.

Tang et al. 2022, GhostNetV2, arXiv:2211.12905; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, ghostnetv2_pytorch.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.activations import HSigmoid
from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import one_of
from ghost_deploy.models.ghost import GhostConv, GhostResidual
from ghost_deploy.models.ghost_parts import require_pairs
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1, GhostModule

FIRST_WITH_ATTENTION = 2
"""Index of the first bottleneck of a backbone that has attention."""


class _Gated(Block):
    """In mode `attn`, the output y of a module is multiplied by up(gate(short_conv(pool(x)))).

    pool averages 2x2 cells of the input x; short_conv is a convolution, then depthwise 1x5 and 5x1,
    each with a batch norm and no activation; the gate is a sigmoid; up repeats cells to the size
    of y.
    """

    gate_fn: nn.Sigmoid | nn.Hardsigmoid | HSigmoid | nn.SiLU | nn.Tanh | nn.ReLU6
    short_conv: nn.Sequential | None
    mode: Annotated[str | None, one_of("original", "attn", "ori", None)] = None

    @property
    def attends(self) -> bool:
        """Whether the mode asks for attention; without a mode, whether there is a branch."""
        return self.mode == "attn" or (self.mode is None and self.short_conv is not None)

    def add_gate(self, mode: str | None, c1: int, c2: int, k: int, s: int) -> None:
        """Set the mode of a new block, and in mode `attn` its attention branch.

        Args:
            mode: see `mode`.
            c1, c2: input and output channels.
            k, s: kernel and stride of the first convolution.
        """
        self.mode = mode
        self.gate_fn = nn.Sigmoid()
        self.short_conv = dfc(c1, c2, k, s) if mode == "attn" else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y if self.short_conv is None else self.gated(y, x, self.short_conv)

    def gated(self, y: Tensor, x: Tensor, branch: nn.Sequential) -> Tensor:
        """Return the output `y` for the input `x`, multiplied by the gate of `branch`."""
        return attend(y, x, branch, self.gate_fn)


class GhostModuleV2(_Gated, GhostModule):
    """A `GhostModule`, in mode `attn` with attention."""

    origin = "Huawei GhostModuleV2"

    def __init__(
        self,
        inp: int,
        oup: int,
        kernel_size: int = 1,
        stride: int = 1,
        relu: bool = True,
        mode: str | None = "original",
    ) -> None:
        super().__init__(inp, oup, kernel_size, stride=stride, relu=relu)
        self.add_gate(mode, inp, oup, kernel_size, stride)

    @property
    def gate_width(self) -> int:
        """Channels of the gate."""
        return self.oup

    def fit(self) -> None:
        super().fit()
        require_dfc(self.short_conv, self.attends, self.gate_width)


class GhostBottleneckV2(GhostBottleneckV1):
    """A `GhostBottleneckV1` over modules of V2, the first with or without attention."""

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


class GhostConvV2(_Gated, GhostConv):
    """An Ultralytics `GhostConv`, in mode `attn` with attention."""

    origin = "fork GhostConvV2: Ultralytics GhostConv with Huawei's DFC attention"

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        act: bool = True,
        mode: str | None = None,
    ) -> None:
        super().__init__(c1, c2, k, s, act)
        self.add_gate(mode, c1, c2, k, s)

    def fit(self) -> None:
        super().fit()
        require_dfc(self.short_conv, self.attends, self.out_channels)


class GhostConvBottleneckV2(GhostResidual):
    """A `GhostResidual` over `GhostConvV2`; a new one has attention in the first."""

    origin = "fork GhostBottleneckV2: Ultralytics GhostBottleneck with DFC attention"
    ghost = GhostConvV2

    def first(self, c1: int, c2: int) -> GhostConv:
        return GhostConvV2(c1, c2, mode="attn")


def dfc(inp: int, oup: int, kernel: int, stride: int) -> nn.Sequential:
    """Create the attention branch.

    Args:
        inp, oup: input and output channels.
        kernel, stride: of the first convolution.
    """
    return nn.Sequential(
        nn.Conv2d(inp, oup, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(oup),
        nn.Conv2d(oup, oup, (1, 5), 1, (0, 2), groups=oup, bias=False),
        nn.BatchNorm2d(oup),
        nn.Conv2d(oup, oup, (5, 1), 1, (2, 0), groups=oup, bias=False),
        nn.BatchNorm2d(oup),
    )


def require_dfc(branch: nn.Sequential | None, wanted: bool, width: int) -> None:
    """Require the attention branch, or its absence.

    Args:
        branch: the attention branch.
        wanted: whether there must be one.
        width: channels of its output.

    Raises:
        MisfitError: it differs.
    """
    require((branch is not None) == wanted, "short_conv goes with the mode attn")
    if branch is None:
        return
    convs = require_pairs(list(branch), "short_conv")
    require(len(convs) == 3, f"short_conv must have three convolutions, got {len(convs)}")
    require(convs[-1].out_channels == width, f"short_conv must give {width} channels")


def attend(y: Tensor, x: Tensor, branch: nn.Sequential, gate: nn.Module) -> Tensor:
    """Return `y` multiplied by the gate.

    Args:
        y: (B, C, h, w) output of the Ghost module.
        x: its input.
        branch: attention branch, to C channels.
        gate: activation of the gate.
    """
    weights: Tensor = gate(branch(functional.avg_pool2d(x, kernel_size=2, stride=2)))
    size = (y.shape[-2], y.shape[-1])
    repeated: Tensor = functional.interpolate(weights, size=size, mode="nearest")
    return torch.mul(y, repeated)
