"""Blocks of YOLOv9 (Wang et al. 2024, arXiv:2402.13616) for networks with a plain head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import Conv, require_halves
from ghost_deploy.models.fields import Channels
from ghost_deploy.models.reparam import RepCSP


class ELAN1(Block):
    """a, b = halves of cv1(x); y = cv4(cat(a, b, cv2(b), cv3(cv2(b))))."""

    origin = "Ultralytics ELAN1"
    cv1: Conv
    cv2: Conv
    cv3: Conv
    cv4: Conv
    c: Channels

    def __init__(self, c1: int, c2: int, c3: int, c4: int) -> None:
        super().__init__()
        self.c = c3 // 2
        self.cv1 = Conv(c1, c3)
        self.cv2 = Conv(self.c, c4, 3)
        self.cv3 = Conv(c4, c4, 3)
        self.cv4 = Conv(c3 + 2 * c4, c2)

    def fit(self) -> None:
        require_halves(self.cv1, self.c)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.cv1(x), self.c, 1)
        first = self.cv2(b)
        return self.cv4(torch.cat((a, b, first, self.cv3(first)), 1))


class RepNCSPELAN4(ELAN1):
    """Like `ELAN1`, but cv2 and cv3 are sequences of a `RepCSP` and a convolution."""

    origin = "Ultralytics RepNCSPELAN4"
    cv2: nn.Sequential  # type: ignore[assignment] # called like a Conv
    cv3: nn.Sequential  # type: ignore[assignment]

    def __init__(self, c1: int, c2: int, c3: int, c4: int, n: int = 1) -> None:
        super().__init__(c1, c2, c3, c4)
        self.cv2 = nn.Sequential(RepCSP(self.c, c4, n), Conv(c4, c4, 3))
        self.cv3 = nn.Sequential(RepCSP(c4, c4, n), Conv(c4, c4, 3))

    def fit(self) -> None:
        super().fit()
        expect_each(self.cv2, RepCSP, Conv)
        expect_each(self.cv3, RepCSP, Conv)


class AConv(Block):
    """y = cv1(avg(x)): mean of 2x2 cells at stride 1, then a convolution with stride 2."""

    origin = "Ultralytics AConv"
    cv1: Conv

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(_mean(x))


class ADown(Block):
    """a, b = halves of avg(x); y = cat(cv1(a), cv2(max(b))), max over 3x3 cells at stride 2."""

    origin = "Ultralytics ADown"
    cv1: Conv
    cv2: Conv
    c: Channels

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1 // 2, self.c, 3, 2)
        self.cv2 = Conv(c1 // 2, self.c)

    def fit(self) -> None:
        require(self.cv1.in_channels == self.cv2.in_channels, "cv1 and cv2 take one half each")

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(_mean(x), self.cv1.in_channels, 1)
        return torch.cat((self.cv1(a), self.cv2(functional.max_pool2d(b, 3, 2, 1))), 1)


class SPPELAN(Block):
    """y = cv5(cat(z, p(z), p(p(z)), p(p(p(z))))) with z = cv1(x), p the poolings cv2 to cv4."""

    origin = "Ultralytics SPPELAN"
    cv1: Conv
    cv2: nn.MaxPool2d
    cv3: nn.MaxPool2d
    cv4: nn.MaxPool2d
    cv5: Conv
    c: Channels

    def __init__(self, c1: int, c2: int, c3: int) -> None:
        super().__init__()
        self.c = c3
        self.cv1 = Conv(c1, c3)
        self.cv2, self.cv3, self.cv4 = (nn.MaxPool2d(5, 1, 2) for _ in range(3))
        self.cv5 = Conv(4 * c3, c2)

    def fit(self) -> None:
        joined = 4 * self.cv1.out_channels
        require(self.cv5.in_channels == joined, f"cv5 must take four maps, {joined} channels")

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for pool in (self.cv2, self.cv3, self.cv4):
            maps.append(pool(maps[-1]))
        return self.cv5(torch.cat(maps, 1))


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 2, 1)
