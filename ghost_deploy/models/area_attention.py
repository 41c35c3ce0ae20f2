"""Area attention of YOLO12 (Tian et al. 2025, arXiv:2502.12524), as in Ultralytics.

Files of sizes l and x scale a residual by a learned vector, `gamma`, which is not supported:
`Block.assemble` refuses their undeclared tensor.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.c3k import C3k
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.fields import Channels

HEAD_WIDTH = 32
"""Channels of a head in new networks."""


class AAttn(Block):
    """y = proj(v softmax(q^T k / sqrt(head_dim))^T + pe(v)), separately in each of `area` areas.

    The areas are equal parts of the cells in row order.
    """

    origin = "Ultralytics AAttn"
    harmless = frozenset({"all_head_dim"})
    qkv: Conv
    proj: Conv
    pe: Conv
    area: Channels
    num_heads: Channels
    head_dim: Channels

    def __init__(self, dim: int, num_heads: int, area: int = 1) -> None:
        super().__init__()
        self.area, self.num_heads, self.head_dim = area, num_heads, dim // num_heads
        width = self.head_dim * num_heads
        self.qkv = Conv(dim, 3 * width, act=False)
        self.proj = Conv(width, dim, act=False)
        self.pe = Conv(width, width, 7, g=width, act=False)

    def fit(self) -> None:
        width = self.num_heads * self.head_dim
        require(self.qkv.out_channels == 3 * width, f"qkv must give q, k and v, {3 * width}")
        widths = {self.proj.in_channels, self.pe.in_channels, self.pe.out_channels}
        require(widths == {width}, f"proj and pe must take all heads, {width} channels")

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        heads = (batch, self.num_heads, 3 * self.head_dim, self.area, -1)
        joined = self.qkv(x).view(heads).transpose(2, 3)
        q, k, v = torch.split(joined, self.head_dim, 3)
        weights = ((q * self.head_dim**-0.5).transpose(3, 4) @ k).softmax(4)
        mixed = (v @ weights.transpose(3, 4)).transpose(2, 3).reshape(batch, -1, height, width)
        return self.proj(mixed + self.pe(v.transpose(2, 3).reshape(batch, -1, height, width)))


class ABlock(Block):
    """y = z + mlp(z) with z = x + attn(x)."""

    origin = "Ultralytics ABlock"
    attn: AAttn
    mlp: nn.Sequential

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, area: int) -> None:
        super().__init__()
        self.attn = AAttn(dim, num_heads, area)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(Conv(dim, hidden), Conv(hidden, dim, act=False))

    def fit(self) -> None:
        expect_each(self.mlp, Conv)

    def forward(self, x: Tensor) -> Tensor:
        z = x + self.attn(x)
        y: Tensor = z + self.mlp(z)
        return y


class A2C2f(Block):
    """y = cv2(cat(z, m0(z), m1(m0(z)), ...)) with z = cv1(x); members of `ABlock` or `C3k`."""

    origin = "Ultralytics A2C2f"
    # None in supported files; a learned one is an undeclared tensor.
    harmless = frozenset({"gamma"})
    members: ClassVar[tuple[type[nn.Module], ...]] = (nn.Sequential, C3k)
    cv1: Conv
    cv2: Conv
    m: nn.ModuleList

    def __init__(self, c1: int, c2: int, n: int = 1, a2: bool = True, area: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv((1 + n) * hidden, c2)
        self.m = nn.ModuleList(
            _pair(hidden, area) if a2 else C3k(hidden, hidden, 2) for _ in range(n)
        )

    def fit(self) -> None:
        expect_each(self.m, *self.members)
        for member in self.m:
            if isinstance(member, nn.Sequential):
                expect_each(member, ABlock)
        joined = (1 + len(self.m)) * self.cv1.out_channels
        require(self.cv2.in_channels == joined, f"cv2 must take all maps, {joined} channels")

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for member in self.m:
            maps.append(member(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


def _pair(width: int, area: int) -> nn.Sequential:
    heads = width // HEAD_WIDTH
    return nn.Sequential(*(ABlock(width, heads, 2.0, area) for _ in range(2)))
