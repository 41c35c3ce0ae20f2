"""Blocks of PP-HGNet (PaddleDetection), as in Ultralytics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import Conv, ConvLike, DWConv
from ghost_deploy.models.fields import Flag


class LightConv(Block):
    """y = conv2(conv1(x)): pointwise without activation, then depthwise."""

    origin = "Ultralytics LightConv"
    conv1: Conv
    conv2: Conv

    def __init__(self, c1: int, c2: int, k: int = 1) -> None:
        super().__init__()
        self.conv1 = Conv(c1, c2, act=False)
        self.conv2 = _with_relu(DWConv(c2, c2, k))

    def fit(self) -> None:
        require(self.conv1.out_channels == self.conv2.in_channels, "conv2 must follow conv1")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class HGBlock(Block):
    """y = ec(sc(cat(x, m0(x), m1(m0(x)), ...))), plus x where `add`."""

    origin = "Ultralytics HGBlock"
    m: nn.ModuleList
    sc: Conv
    ec: Conv
    add: Flag

    def __init__(
        self,
        c1: int,
        cm: int,
        c2: int,
        k: int = 3,
        n: int = 6,
        lightconv: bool = False,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        widths = [c1, *[cm] * (n - 1)]
        self.m = nn.ModuleList(
            LightConv(width, cm, k) if lightconv else _with_relu(Conv(width, cm, k))
            for width in widths
        )
        self.sc = _with_relu(Conv(c1 + n * cm, c2 // 2))
        self.ec = _with_relu(Conv(c2 // 2, c2))
        self.add = shortcut and c1 == c2

    def fit(self) -> None:
        expect_each(self.m, Conv, LightConv)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for member in self.m:
            maps.append(member(maps[-1]))
        y = self.ec(self.sc(torch.cat(maps, 1)))
        return y + x if self.add else y


class HGBlockHost(HGBlock):
    """An `HGBlock` over members of other classes, e.g. Ghost convolutions."""

    origin = "fork HGBlock over other members"
    sc: ConvLike  # type: ignore[assignment] # the parts of a Conv that are used
    ec: ConvLike  # type: ignore[assignment]

    def fit(self) -> None:
        expect_each(self.m, ConvLike, LightConv)


class HGStem(Block):
    """y = stem4(stem3(cat(pool(z), stem2b(pad(stem2a(z)))))) with z = pad(stem1(x)).

    pad adds a row of zeros below and a column on the right, so that 2x2 windows keep the size.
    """

    origin = "Ultralytics HGStem"
    stem1: Conv
    stem2a: Conv
    stem2b: Conv
    stem3: Conv
    stem4: Conv
    pool: nn.MaxPool2d

    def __init__(self, c1: int, cm: int, c2: int) -> None:
        super().__init__()
        self.stem1 = _with_relu(Conv(c1, cm, 3, 2))
        self.stem2a = _with_relu(Conv(cm, cm // 2, 2, p=0))
        self.stem2b = _with_relu(Conv(cm // 2, cm, 2, p=0))
        self.stem3 = _with_relu(Conv(2 * cm, cm, 3, 2))
        self.stem4 = _with_relu(Conv(cm, c2))
        self.pool = nn.MaxPool2d(2, 1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        z = _pad(self.stem1(x))
        fine = self.stem2b(_pad(self.stem2a(z)))
        return self.stem4(self.stem3(torch.cat((self.pool(z), fine), 1)))


def _with_relu(conv: Conv) -> Conv:
    conv.act = nn.ReLU()
    return conv


def _pad(x: Tensor) -> Tensor:
    return functional.pad(x, [0, 1, 0, 1])
