"""Convolutions and concatenation of the Ultralytics networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import Count

# Set by `initialize_weights` of Ultralytics; the defaults of torch are 1e-5 and 0.1.
BN_EPS = 1e-3
BN_MOMENTUM = 0.03


class ConvLike(Block):
    """A block that may take the place of a `Conv`: it has one input and known widths."""

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        raise NotImplementedError

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        raise NotImplementedError


class Conv(ConvLike):
    """y = act(bn(conv(x))). A file written after fusion has no `bn` and a bias in `conv`."""

    origin = "Ultralytics Conv"
    may_lack = frozenset({"bn"})
    folds = (("conv", "bn"),)
    conv: nn.Conv2d
    bn: nn.BatchNorm2d | nn.Identity
    act: Activation

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        d: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        same = (d * (k - 1) + 1) // 2
        padding = same if p is None else p
        self.conv = nn.Conv2d(c1, c2, k, s, padding, groups=g, dilation=d, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = nn.SiLU() if act else nn.Identity()

    def fit(self) -> None:
        if isinstance(self.bn, nn.BatchNorm2d):
            require(self.bn.num_features == self.out_channels, "bn must follow conv's channels")
        else:
            require(self.conv.bias is not None, "without bn, conv must carry the fused bias")

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.conv.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class DWConv(Conv):
    """A `Conv` with gcd(c1, c2) groups: depthwise where the widths are equal."""

    origin = "Ultralytics DWConv"

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: bool = True) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), act=act)


def require_halves(cv1: ConvLike, c: int, cv2: ConvLike | None = None) -> None:
    """Require a map of two halves between convolutions.

    Args:
        cv1: returns the two halves.
        c: channels of a half.
        cv2: takes two halves, if given.

    Raises:
        MisfitError: the channels differ.
    """
    require(cv1.out_channels == 2 * c, f"cv1 must give 2 * c = {2 * c} channels")
    taken = 2 * c if cv2 is None else cv2.in_channels
    require(taken == 2 * c, f"cv2 must take 2 * c = {2 * c} channels")


class ConvTranspose(Block):
    """y = act(bn(conv_transpose(x))). Without batch norm, `conv_transpose` has a bias."""

    origin = "Ultralytics ConvTranspose"
    may_lack = frozenset({"bn"})
    folds = (("conv_transpose", "bn"),)
    conv_transpose: nn.ConvTranspose2d
    bn: nn.BatchNorm2d | nn.Identity
    act: Activation

    def __init__(
        self, c1: int, c2: int, k: int = 2, s: int = 2, p: int = 0, bn: bool = True
    ) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(c1, c2, k, s, p, bias=not bn)
        self.bn = nn.BatchNorm2d(c2, eps=BN_EPS, momentum=BN_MOMENTUM) if bn else nn.Identity()
        self.act = nn.SiLU()

    def fit(self) -> None:
        width = self.conv_transpose.out_channels
        if isinstance(self.bn, nn.BatchNorm2d):
            require(self.bn.num_features == width, "bn must follow conv_transpose's channels")
        else:
            require(self.conv_transpose.bias is not None, "without bn, it must have a bias")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv_transpose(x)))
        return y


class Concat(Block):
    """Concatenation of the outputs of several layers along axis `d`."""

    origin = "Ultralytics Concat"
    d: Count

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def fit(self) -> None:
        require(self.d == 1, f"it must join channels, axis 1, got axis {self.d}")

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.d)
