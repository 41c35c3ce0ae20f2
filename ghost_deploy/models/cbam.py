"""Channel and spatial attention (Woo et al. 2018, CBAM, arXiv:1807.06521), simplified.

Ultralytics' channel attention uses the mean and one layer, not also the maximum and two layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, require


class ChannelAttention(Block):
    """y = x * act(fc(mean of x over all cells))."""

    origin = "Ultralytics ChannelAttention"
    pool: nn.AdaptiveAvgPool2d
    fc: nn.Conv2d
    act: nn.Sigmoid

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.act = nn.Sigmoid()

    def fit(self) -> None:
        require(self.pool.output_size in (1, (1, 1)), "pool must give one cell")
        require(self.fc.in_channels == self.fc.out_channels, "fc must keep the channels")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.act(self.fc(self.pool(x)))
        return y


class SpatialAttention(Block):
    """y = x * act(cv1(cat(mean, max))), mean and max over the channels of each cell."""

    origin = "Ultralytics SpatialAttention"
    cv1: nn.Conv2d
    act: nn.Sigmoid

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.cv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.act = nn.Sigmoid()

    def fit(self) -> None:
        shape = (self.cv1.in_channels, self.cv1.out_channels)
        require(shape == (2, 1), "cv1 must map mean and maximum to one gate")

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        y: Tensor = x * self.act(self.cv1(summary))
        return y


class CBAM(Block):
    """y = spatial_attention(channel_attention(x))."""

    origin = "Ultralytics CBAM"
    channel_attention: ChannelAttention
    spatial_attention: SpatialAttention

    def __init__(self, c1: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(c1)
        self.spatial_attention = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial_attention(self.channel_attention(x))
