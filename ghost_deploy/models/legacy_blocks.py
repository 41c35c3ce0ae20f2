"""Blocks of earlier Ultralytics networks, still used in custom YAMLs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import BN_EPS, BN_MOMENTUM, Conv
from ghost_deploy.models.csp import Bottleneck


class C1(Block):
    """y = m(z) + z with z = cv1(x), m a sequence of convolutions."""

    origin = "Ultralytics C1"
    cv1: Conv
    m: nn.Sequential

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2)
        self.m = nn.Sequential(*(Conv(c2, c2, 3) for _ in range(n)))

    def fit(self) -> None:
        expect_each(self.m, Conv)

    def forward(self, x: Tensor) -> Tensor:
        z = self.cv1(x)
        y: Tensor = self.m(z) + z
        return y


class SPP(Block):
    """y = cv2(cat(z, p1(z), p2(z), ...)) with z = cv1(x), parallel poolings of several sizes."""

    origin = "Ultralytics SPP"
    cv1: Conv
    cv2: Conv
    m: nn.ModuleList

    def __init__(self, c1: int, c2: int, k: tuple[int, ...] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(hidden * (len(k) + 1), c2)
        self.m = nn.ModuleList(nn.MaxPool2d(side, 1, side // 2) for side in k)

    def fit(self) -> None:
        expect_each(self.m, nn.MaxPool2d)
        joined = self.cv1.out_channels * (len(self.m) + 1)
        require(self.cv2.in_channels == joined, f"cv2 must take all maps, {joined} channels")

    def forward(self, x: Tensor) -> Tensor:
        z = self.cv1(x)
        return self.cv2(torch.cat((z, *(pool(z) for pool in self.m)), 1))


class Focus(Block):
    """y = conv(cat(even rows and columns, odd rows, odd columns, both odd)), at half the size."""

    origin = "Ultralytics Focus"
    conv: Conv

    def __init__(self, c1: int, c2: int, k: int = 1) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = x[..., ::2, :], x[..., 1::2, :]
        parts = (top[..., ::2], bottom[..., ::2], top[..., 1::2], bottom[..., 1::2])
        return self.conv(torch.cat(parts, 1))


class BottleneckCSP(Block):
    """y = cv4(act(bn(cat(cv3(m(cv1(x))), cv2(x))))), cv2 and cv3 raw convolutions."""

    origin = "Ultralytics BottleneckCSP"
    cv1: Conv
    cv2: nn.Conv2d
    cv3: nn.Conv2d
    cv4: Conv
    bn: nn.BatchNorm2d
    act: Activation
    m: nn.Sequential

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = nn.Conv2d(c1, hidden, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c2)
        self.bn = nn.BatchNorm2d(2 * hidden, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, e=1.0) for _ in range(n)))

    def fit(self) -> None:
        expect_each(self.m, Bottleneck)
        joined = self.cv2.out_channels + self.cv3.out_channels
        widths = {self.bn.num_features, self.cv4.in_channels}
        require(widths == {joined}, f"bn and cv4 must take {joined} channels")

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        return self.cv4(self.act(self.bn(y)))
