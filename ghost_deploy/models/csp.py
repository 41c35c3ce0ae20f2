"""Common blocks of Ultralytics networks: bottleneck, CSP blocks, pooling.

A CSP block splits its input into two paths, runs its members on one and joins both (Wang et al.
2019, arXiv:1911.11929). `members` are the accepted classes of the members.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.conv import Conv, require_halves
from ghost_deploy.models.fields import Channels, Count, Flag


class Bottleneck(Block):
    """y = cv2(cv1(x)), plus x where `add`."""

    origin = "Ultralytics Bottleneck"
    cv1: Conv
    cv2: Conv
    add: Flag

    def __init__(
        self,
        c1: int,
        c2: int,
        shortcut: bool = True,
        k: tuple[int, int] = (3, 3),
        e: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = self.first(c1, hidden, k[0])
        self.cv2 = Conv(hidden, c2, k[1])
        self.add = shortcut and c1 == c2

    def first(self, c1: int, c2: int, k: int) -> Conv:
        """Create the first convolution."""
        return Conv(c1, c2, k)

    def fit(self) -> None:
        require(self.cv1.out_channels == self.cv2.in_channels, "cv2 must follow cv1's channels")
        same = self.cv1.in_channels == self.cv2.out_channels
        require(same or not self.add, "add needs as many output as input channels")

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(Block):
    """y = cv3(cat(m(cv1(x)), cv2(x)))."""

    origin = "Ultralytics C3"
    harmless = frozenset({"c_"})
    members: ClassVar[tuple[type[nn.Module], ...]] = (Bottleneck,)
    cv1: Conv
    cv2: Conv
    cv3: Conv
    m: nn.Sequential

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(c1, hidden)
        self.cv3 = Conv(2 * hidden, c2)
        self.m = nn.Sequential(*(self.member(hidden, shortcut) for _ in range(n)))

    def member(self, hidden: int, shortcut: bool) -> Block:
        """Create a member of `hidden` channels, which adds its input if `shortcut`."""
        return Bottleneck(hidden, hidden, shortcut, k=(1, 3), e=1.0)

    def fit(self) -> None:
        expect_each(self.m, *self.members)
        require(self.cv1.in_channels == self.cv2.in_channels, "cv1 and cv2 share one input")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.m(self.cv1(x))
        return self.cv3(torch.cat((y, self.cv2(x)), 1))


class C2(Block):
    """a, b = split(cv1(x)); y = cv2(cat(m(a), b)), m a sequence of members."""

    origin = "Ultralytics C2"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Bottleneck,)
    cv1: Conv
    cv2: Conv
    m: nn.Sequential
    c: Channels

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1, 2 * self.c)
        self.cv2 = Conv(2 * self.c, c2)
        self.m = nn.Sequential(*(self.member() for _ in range(n)))

    def member(self) -> Block:
        """Create a member."""
        return Bottleneck(self.c, self.c, e=1.0)

    def fit(self) -> None:
        expect_each(self.m, *self.members)
        require_halves(self.cv1, self.c, self.cv2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.cv1(x), self.c, 1)
        return self.cv2(torch.cat((self.m(a), b), 1))


class C2f(Block):
    """a, b = split(cv1(x)); y = cv2(cat(a, b, m0(b), m1(m0(b)), ...)), each of width `c`."""

    origin = "Ultralytics C2f"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Bottleneck,)
    cv1: Conv
    cv2: Conv
    m: nn.ModuleList | nn.Sequential
    c: Channels

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, e: float = 0.5
    ) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c)
        self.cv2 = Conv((2 + n) * self.c, c2)
        self.m = nn.ModuleList(self.member(shortcut) for _ in range(n))

    def member(self, shortcut: bool) -> Block:
        """Create a member, which adds its input if `shortcut`."""
        return Bottleneck(self.c, self.c, shortcut, e=1.0)

    def fit(self) -> None:
        expect_each(self.m, *self.members)
        require_halves(self.cv1, self.c)
        self._fit_joined()

    def _fit_joined(self) -> None:
        joined = (2 + len(self.m)) * self.c
        require(self.cv2.in_channels == joined, f"cv2 must take (2 + members) * c = {joined}")

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.joined(x))

    def joined(self, x: Tensor) -> Tensor:
        """Return all maps, joined."""
        parts = self.halves(x)
        for member in self.m:
            parts.append(member(parts[-1]))
        return torch.cat(parts, 1)

    def halves(self, x: Tensor) -> list[Tensor]:
        """Return the first two maps."""
        return list(torch.split(self.cv1(x), self.c, 1))


class SPPF(Block):
    """y = cv2(cat(z, p(z), p(p(z)), ...)) with z = cv1(x) and `n` poolings, plus x where `add`.

    In old files without `n` and `add` there are three poolings and no shortcut.
    """

    origin = "Ultralytics SPPF"
    cv1: Conv
    cv2: Conv
    m: nn.MaxPool2d
    n: Count = 3
    add: Flag = False

    def __init__(self, c1: int, c2: int, k: int = 5, n: int = 3, shortcut: bool = False) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(hidden * (n + 1), c2)
        self.m = nn.MaxPool2d(k, stride=1, padding=k // 2)
        self.n = n
        self.add = shortcut and c1 == c2

    def fit(self) -> None:
        joined = self.cv1.out_channels * (self.n + 1)
        require(self.cv2.in_channels == joined, f"cv2 must take (n + 1) maps, {joined} channels")
        same = self.cv1.in_channels == self.cv2.out_channels
        require(same or not self.add, "add needs as many output as input channels")

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(self.n):
            maps.append(self.m(maps[-1]))
        y = self.cv2(torch.cat(maps, 1))
        return y + x if self.add else y
