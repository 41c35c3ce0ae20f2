"""Self-attention over the cells of a feature map, and the blocks around it (YOLOv10 and 11).

With q, k, v from one pointwise convolution, split by heads,

    Attention(x) = proj(v softmax(scale * q^T k)^T + pe(v)),  scale = key_dim ** -0.5

per head (Vaswani et al. 2017, arXiv:1706.03762); pe is a depthwise 3x3 convolution as
positional encoding, and key_dim is half of head_dim (Wang et al. 2024, arXiv:2405.14458).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import Conv, require_halves
from ghost_deploy.models.csp import C2, C2f
from ghost_deploy.models.fields import Channels, Flag, number

HEAD_WIDTH = 64
"""Channels of a head in new networks."""


class Attention(Block):
    """y = proj(v softmax(scale * q^T k)^T + pe(v)), per head, over all cells of the map."""

    origin = "Ultralytics Attention"
    harmless = frozenset({"format"})
    qkv: Conv
    proj: Conv
    pe: Conv
    num_heads: Channels
    head_dim: Channels
    key_dim: Channels
    scale: Annotated[float, number(1e-6, 1e6)]

    def __init__(self, dim: int, num_heads: int = 8, attn_ratio: float = 0.5) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.key_dim = int(self.head_dim * attn_ratio)
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, act=False)
        self.proj = Conv(dim, dim, act=False)
        self.pe = Conv(dim, dim, 3, g=dim, act=False)

    def fit(self) -> None:
        joined = self.num_heads * (2 * self.key_dim + self.head_dim)
        require(self.qkv.out_channels == joined, f"qkv must give q, k and v, {joined} channels")
        width = self.num_heads * self.head_dim
        widths = {self.proj.in_channels, self.pe.in_channels, self.pe.out_channels}
        require(widths == {width}, f"proj and pe must take all heads, {width} channels")

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        joined = self.qkv(x).view(batch, self.num_heads, -1, height * width)
        q, k, v = torch.split(joined, [self.key_dim, self.key_dim, self.head_dim], 2)
        weights = ((q * self.scale).transpose(2, 3) @ k).softmax(3)
        mixed = (v @ weights.transpose(2, 3)).reshape(batch, -1, height, width)
        return self.proj(mixed + self.pe(v.reshape(batch, -1, height, width)))


class PSABlock(Block):
    """y = z + ffn(z) with z = x + attn(x); without both additions where `add` is false."""

    origin = "Ultralytics PSABlock"
    attn: Attention
    ffn: nn.Sequential
    add: Flag

    def __init__(self, c: int, num_heads: int, shortcut: bool = True) -> None:
        super().__init__()
        self.attn = Attention(c, num_heads)
        self.ffn = _feed_forward(c)
        self.add = shortcut

    def fit(self) -> None:
        expect_each(self.ffn, Conv)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.attn(x) if self.add else self.attn(x)
        z: Tensor = self.ffn(y)
        return y + z if self.add else z


class PSA(Block):
    """a, b = split(cv1(x)); y = cv2(cat(a, d)), d = b' + ffn(b'), b' = b + attn(b)."""

    origin = "Ultralytics PSA"
    cv1: Conv
    cv2: Conv
    attn: Attention
    ffn: nn.Sequential
    c: Channels

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1, 2 * self.c)
        self.cv2 = Conv(2 * self.c, c2)
        self.attn = Attention(self.c, _heads(self.c))
        self.ffn = _feed_forward(self.c)

    def fit(self) -> None:
        expect_each(self.ffn, Conv)
        require_halves(self.cv1, self.c, self.cv2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.cv1(x), self.c, 1)
        b = b + self.attn(b)
        b = b + self.ffn(b)
        return self.cv2(torch.cat((a, b), 1))


class C2PSA(C2):
    """a, b = split(cv1(x)); y = cv2(cat(a, m(b))), m a sequence of `PSABlock`."""

    origin = "Ultralytics C2PSA"
    members: ClassVar[tuple[type[nn.Module], ...]] = (PSABlock,)

    def member(self) -> Block:
        return PSABlock(self.c, num_heads=_heads(self.c))

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.cv1(x), self.c, 1)
        return self.cv2(torch.cat((a, self.m(b)), 1))


class C2fPSA(C2f):
    """A `C2f` whose members are `PSABlock`."""

    origin = "Ultralytics C2fPSA"
    members: ClassVar[tuple[type[nn.Module], ...]] = (PSABlock,)

    def member(self, shortcut: bool) -> Block:
        return PSABlock(self.c, num_heads=_heads(self.c))


def _heads(width: int) -> int:
    return max(width // HEAD_WIDTH, 1)


def _feed_forward(c: int) -> nn.Sequential:
    return nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))
