"""G-Ghost: a stage whose cheap features are derived from its first block.

Han et al. 2022, GhostNets on heterogeneous devices, arXiv:2201.03297; names and arithmetic as in
github.com/huawei-noah/Efficient-AI-Backbones, g_ghost_pytorch, which applies it to RegNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.fields import Channels, Count
from ghost_deploy.models.ghost_parts import raw_pair, require_pairs


class RegNetBottleneck(Block):
    """y = relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + downsample(x)).

    conv1 and conv3 are pointwise, conv2 is grouped and carries the stride. Radosavovic et al.
    2020, RegNet, arXiv:2003.13678.
    """

    origin = "Huawei G-Ghost Bottleneck (RegNet)"
    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d | nn.Identity
    conv2: nn.Conv2d
    bn2: nn.BatchNorm2d | nn.Identity
    conv3: nn.Conv2d
    bn3: nn.BatchNorm2d | nn.Identity
    relu: nn.ReLU | nn.SiLU
    downsample: nn.Sequential | nn.Identity | None
    stride: Count

    def __init__(self, inplanes: int, planes: int, stride: int = 1, group_width: int = 1) -> None:
        super().__init__()
        groups = planes // min(planes, group_width)
        self.stride = stride
        self.conv1, self.bn1 = raw_pair(inplanes, planes, 1)
        self.conv2, self.bn2 = raw_pair(planes, planes, 3, stride, groups=groups)
        self.conv3, self.bn3 = raw_pair(planes, planes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inplanes != planes:
            self.downsample = nn.Sequential(*raw_pair(inplanes, planes, 1, stride))

    def fit(self) -> None:
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            normed = isinstance(bn, nn.BatchNorm2d)
            require(normed or conv.bias is not None, "a convolution has no batch norm")
        require(set(self.conv2.stride) == {self.stride}, "conv2 must carry the stride")

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        skip = x if self.downsample is None else self.downsample(x)
        # Not in place: blocks that concatenate the inputs of their members use `x` again.
        result: Tensor = self.relu(y + skip)
        return result


class GGhostStage(Block):
    """b = base(x); e = layers(b[:raw]); c = relu(cheap(b[raw:]) + merge(cat(b, e1, e2, ...))).

    y = end(cat(e, c)). e1, e2, ..., e are the outputs of the members of `layers`; merge takes the
    mean over all cells. `layers` compute the first `raw_planes` channels.
    """

    origin = "Huawei G-Ghost Stage"
    harmless = frozenset({"dilation", "cheap_planes"})
    base: RegNetBottleneck
    end: RegNetBottleneck
    merge: nn.Sequential
    cheap: nn.Sequential
    cheap_relu: nn.ReLU | nn.SiLU
    layers: nn.Sequential
    raw_planes: Channels

    def __init__(
        self, inplanes: int, planes: int, blocks: int = 3, stride: int = 1, group_width: int = 1
    ) -> None:
        super().__init__()
        narrow = max(1, int(group_width * 0.75))
        raw = int(planes / 2 / narrow) * narrow
        cheap = planes - raw
        members = max(1, blocks - 2)
        self.raw_planes = raw
        self.base = RegNetBottleneck(inplanes, planes, stride, group_width)
        self.end = RegNetBottleneck(planes, planes, 1, group_width)
        self.layers = nn.Sequential(
            *(RegNetBottleneck(raw, raw, 1, narrow) for _ in range(members))
        )
        self.merge = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *raw_pair(planes + raw * members, cheap, 1),
            nn.ReLU(inplace=True),
            *raw_pair(cheap, cheap, 1),
        )
        self.cheap = nn.Sequential(*raw_pair(cheap, cheap, 1))
        self.cheap_relu = nn.ReLU(inplace=True)

    def fit(self) -> None:
        expect_each(self.layers, RegNetBottleneck)
        require(len(require_pairs(list(self.cheap), "cheap")) == 1, "cheap must be one pair")
        parts = list(self.merge)
        kinds = [type(part).__name__ for part in parts]
        shaped = len(parts) == 6 and isinstance(parts[3], nn.ReLU | nn.SiLU)
        pooled = isinstance(parts[0], nn.AdaptiveAvgPool2d) and parts[0].output_size in (1, (1, 1))
        require(shaped and pooled, f"merge must be a mean, a pair, ReLU and a pair, got {kinds}")
        require_pairs([*parts[1:3], *parts[4:]], "merge")
        planes = self.base.conv3.out_channels
        require(self.raw_planes < planes, f"raw_planes must be below {planes}")

    def forward(self, x: Tensor) -> Tensor:
        first = self.base(x)
        costly, cheap = first[:, : self.raw_planes], first[:, self.raw_planes :]
        outputs = [first]
        for layer in self.layers:
            costly = layer(costly)
            outputs.append(costly)
        mixed = self.merge(torch.cat(outputs, 1))
        derived = self.cheap_relu(self.cheap(cheap) + mixed)
        return self.end(torch.cat((costly, derived), 1))
