"""Channel and spatial attention (Woo et al. 2018, CBAM, arXiv:1807.06521), simplified.

Ultralytics' channel attention uses the mean and one layer, not also the maximum and two layers.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Names, require
from ghost_deploy.models.feature_gate import FeatureGate, FreeGate, widths_of


class ChannelAttention(FeatureGate):
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

    @property
    def width(self) -> int | None:
        return self.fc.in_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.act(self.fc(self.pool(x)))
        return y


class PooledChannelGate(FreeGate):
    """y = x * sigmoid(f(mean of x) + f(maximum of x)), f(v) = fc2(relu(fc1(v))).

    The channel attention of the paper, with both poolings and a bottleneck of two layers.
    """

    origin = "CBAM's channel attention of mean and maximum"
    harmless = frozenset({"in_planes", "ratio", "reduction", "channel", "channels", "c1"})

    def fit(self) -> None:
        pools = [part for part in self.modules() if isinstance(part, nn.AdaptiveMaxPool2d)]
        require(len(pools) == 1, "it must pool the maximum")
        require(pools[0].output_size in (1, (1, 1)), "it must pool to one cell")
        skipped = (nn.Conv2d, nn.AdaptiveMaxPool2d)
        names, self._act, _ = self.sort_children(skipped)
        layers = [name for name in names if isinstance(self.get_submodule(name), nn.Conv2d)]
        require(len(layers) == 2 and bool(self._act), "it must have two layers, and an activation")
        self._first, self._second = layers
        first, second = (widths_of(self.get_submodule(name)) for name in layers)
        require(first == second[::-1], "its two layers must lead back to the width")
        self._width = first[0]

    @property
    def width(self) -> int | None:
        return self._width

    def forward(self, x: Tensor) -> Tensor:
        mean, most = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * (self._layers(mean) + self._layers(most)).sigmoid()

    def _layers(self, x: Tensor) -> Tensor:
        for name in (self._first, self._act, self._second):
            x = self.get_submodule(name)(x)
        return x


class SpatialAttention(FeatureGate):
    """y = x * act(cv1(cat(mean, max))), mean and max over the channels of each cell."""

    origin = "Ultralytics SpatialAttention"
    aliases: ClassVar[Names] = {"cv1": ("conv1", "conv"), "act": ("sigmoid",)}
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


class CBAM(FeatureGate):
    """y = spatial_attention(channel_attention(x))."""

    origin = "Ultralytics CBAM"
    aliases: ClassVar[Names] = {
        "channel_attention": ("ca", "channelattention", "channel_att", "ChannelGate"),
        "spatial_attention": ("sa", "spatialattention", "spatial_att", "SpatialGate"),
    }
    channel_attention: ChannelAttention | PooledChannelGate
    spatial_attention: SpatialAttention

    def __init__(self, c1: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(c1)
        self.spatial_attention = SpatialAttention()

    @property
    def width(self) -> int | None:
        return self.channel_attention.width

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial_attention(self.channel_attention(x))
