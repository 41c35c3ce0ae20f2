"""Ghost modules of Ultralytics, and the C2f of forks over them.

A Ghost module computes half of its channels by a full convolution and the other half from these by
a cheap depthwise one (Han et al. 2020, GhostNet, arXiv:1911.11907).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, Names, require
from ghost_deploy.models.conv import Conv, ConvLike, DWConv
from ghost_deploy.models.csp import C3, C2f
from ghost_deploy.models.fields import SHORTCUT_FLAGS, OptionalFlag


class GhostConv(ConvLike):
    """y = cv1(x); cat(y, cv2(y)), where cv2 is depthwise, by default 5x5."""

    origin = "Ultralytics GhostConv"
    cv1: Conv
    cv2: Conv

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: bool = True) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden, k, s, act=act)
        self.cv2 = Conv(hidden, hidden, 5, 1, g=hidden, act=act)

    def fit(self) -> None:
        require(self.cv1.out_channels == self.cv2.in_channels, "cv2 must follow cv1's channels")

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.cv1.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.cv1.out_channels + self.cv2.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


class GhostResidual(Block):
    """y = conv(x) + shortcut(x): `ghost`, depthwise where s = 2, `ghost` without activation.

    The shortcut is the identity for s = 1, and depthwise then pointwise for s = 2; it is always
    added. `k` has no effect for s = 1.
    """

    aliases: ClassVar[Names] = {"add": SHORTCUT_FLAGS}
    ghost: ClassVar[type[GhostConv]]
    conv: nn.Sequential
    shortcut: nn.Sequential | nn.Identity
    add: OptionalFlag = None

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        hidden, strided = c2 // 2, s == 2
        self.conv = nn.Sequential(
            self.first(c1, hidden),
            DWConv(hidden, hidden, k, s, act=False) if strided else nn.Identity(),
            self.ghost(hidden, c2, act=False),
        )
        self.shortcut = (
            nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, act=False))
            if strided
            else nn.Identity()
        )

    def first(self, c1: int, c2: int) -> GhostConv:
        """Create the first Ghost module."""
        return self.ghost(c1, c2)

    def fit(self) -> None:
        unused = self.add is False and isinstance(self.shortcut, nn.Identity)
        require(not unused, "its attribute says that it does not add")
        kinds = [type(part).__name__ for part in self.conv]
        accepted: Any = (self.ghost, (Conv, nn.Identity), self.ghost)
        fits = len(kinds) == 3 and all(map(isinstance, self.conv, accepted))
        name = self.ghost.__name__
        require(fits, f"conv must be {name}, DWConv or Identity, {name}, got {kinds}")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + self.shortcut(x)
        return y


class GhostBottleneck(GhostResidual):
    """A `GhostResidual` over `GhostConv`."""

    origin = "Ultralytics GhostBottleneck"
    ghost = GhostConv


class C3Ghost(C3):
    """A `C3` of Ghost bottlenecks; `shortcut` has no effect."""

    origin = "Ultralytics C3Ghost"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneck,)

    def member(self, hidden: int, shortcut: bool) -> Block:
        return GhostBottleneck(hidden, hidden)


class C2fGhost(C2f):
    """A `C2f` of Ghost bottlenecks; a class of forks, not of Ultralytics."""

    origin = "fork C2fGhost: C2f over Ultralytics GhostBottleneck"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneck,)

    def member(self, shortcut: bool) -> Block:
        return GhostBottleneck(self.c, self.c)
