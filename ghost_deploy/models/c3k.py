"""Blocks of YOLO11 and YOLOv10: C3k, C3k2, CIB, C2fCIB and SCDown."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ghost_deploy.models.attention import PSABlock
from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.csp import C3, Bottleneck, C2f
from ghost_deploy.models.fields import Flag
from ghost_deploy.models.reparam import RepVGGDW


class C3k(C3):
    """A `C3` whose members have two kernels of equal size, 3 in all published networks."""

    origin = "Ultralytics C3k"

    def member(self, hidden: int, shortcut: bool) -> Block:
        return Bottleneck(hidden, hidden, shortcut, e=1.0)


class C3k2(C2f):
    """A `C2f` whose members are `C3k`, `Bottleneck`, or a `Bottleneck` followed by a `PSABlock`."""

    origin = "Ultralytics C3k2"
    members: ClassVar[tuple[type[nn.Module], ...]] = (C3k, Bottleneck, nn.Sequential)

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut=True, e=e)
        if c3k:
            self.m = nn.ModuleList(C3k(self.c, self.c, 2) for _ in range(n))

    def member(self, shortcut: bool) -> Block:
        return Bottleneck(self.c, self.c, shortcut)

    def fit(self) -> None:
        super().fit()
        for member in self.m:
            if isinstance(member, nn.Sequential):
                expect_each(member, Bottleneck, PSABlock)


class CIB(Block):
    """y = cv1(x), plus x where `add`: depthwise, pointwise, depthwise, pointwise, depthwise.

    The middle convolution is a `RepVGGDW` in networks with a large kernel. YOLOv10's compact
    inverted block (arXiv:2405.14458).
    """

    origin = "Ultralytics CIB"
    cv1: nn.Sequential
    add: Flag

    def __init__(
        self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5, lk: bool = False
    ) -> None:
        super().__init__()
        wide = 2 * int(c2 * e)
        self.cv1 = nn.Sequential(
            Conv(c1, c1, 3, g=c1),
            Conv(c1, wide),
            RepVGGDW(wide) if lk else Conv(wide, wide, 3, g=wide),
            Conv(wide, c2),
            Conv(c2, c2, 3, g=c2),
        )
        self.add = shortcut and c1 == c2

    def fit(self) -> None:
        expect_each(self.cv1, Conv, RepVGGDW)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv1(x)
        return x + y if self.add else y


class C2fCIB(C2f):
    """A `C2f` whose members are `CIB`."""

    origin = "Ultralytics C2fCIB"
    members: ClassVar[tuple[type[nn.Module], ...]] = (CIB,)

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, lk: bool = False
    ) -> None:
        super().__init__(c1, c2, n, shortcut)
        if lk:
            self.m = nn.ModuleList(CIB(self.c, self.c, shortcut, 1.0, True) for _ in range(n))

    def member(self, shortcut: bool) -> Block:
        return CIB(self.c, self.c, shortcut, e=1.0)


class SCDown(Block):
    """y = cv2(cv1(x)): pointwise to the new width, then depthwise with stride, no activation."""

    origin = "Ultralytics SCDown"
    cv1: Conv
    cv2: Conv

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 2) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2)
        self.cv2 = Conv(c2, c2, k, s, g=c2, act=False)

    def fit(self) -> None:
        require(self.cv1.out_channels == self.cv2.in_channels, "cv2 must follow cv1's channels")

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.cv1(x))
