"""Slim neck: GSConv and the blocks over it (Li et al. 2022, arXiv:2206.02424).

Names and arithmetic as in github.com/AlanLi1997/slim-neck-by-gsconv.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, Names, require
from ghost_deploy.models.conv import Conv, ConvLike


class GSConv(ConvLike):
    """y = cv1(x); shuffle(cat(y, cv2(y))), cv2 depthwise: even channels, then odd ones."""

    origin = "slim neck GSConv: even channels, then odd ones"
    aliases: ClassVar[Names] = {"cv1": ("conv1", "conv"), "cv2": ("conv2", "dwconv", "cheap")}
    cv1: Conv
    cv2: Conv

    def fit(self) -> None:
        width = self.cv1.out_channels
        follows = (self.cv2.in_channels, self.cv2.out_channels) == (width, width)
        require(follows, "cv2 must keep cv1's channels")

    @property
    def in_channels(self) -> int:
        return self.cv1.in_channels

    @property
    def out_channels(self) -> int:
        return 2 * self.cv1.out_channels

    def forward(self, x: Tensor) -> Tensor:
        joined = self.joined(x)
        # Strided slices, not a transposed view: the sizes of a traced view are constants.
        return torch.cat((joined[:, ::2], joined[:, 1::2]), 1)

    def joined(self, x: Tensor) -> Tensor:
        """Return both halves in the order in which they are computed."""
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


class GSConvUnshuffled(GSConv):
    """y = cv1(x); cat(y, cv2(y))."""

    origin = "fork GSConv: without shuffle"

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x)


class GSConvNormative(GSConv):
    """y = cv1(x); relu(shuf(cat(y, cv2(y)))), shuf a 1x1 convolution."""

    origin = "slim neck GSConvns: a convolution in place of the shuffle"
    shuf: nn.Conv2d

    @property
    def out_channels(self) -> int:
        return self.shuf.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shuf(self.joined(x)))


class GSBottleneck(Block):
    """y = conv_lighting(x) + shortcut(x)."""

    origin = "slim neck GSBottleneck"
    aliases: ClassVar[Names] = {"conv_lighting": ("conv", "conv_light"), "shortcut": ("res",)}
    conv_lighting: nn.Sequential
    shortcut: ConvLike | nn.Identity | nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_lighting(x) + self.shortcut(x)
        return y


class VoVGSCSP(Block):
    """y = cv3(cat(cv2(x), gsb(cv1(x)))); the child `res` is never used."""

    origin = "slim neck VoVGSCSP"
    aliases: ClassVar[Names] = {"gsb": ("m", "gs")}
    cv1: ConvLike
    cv2: ConvLike
    cv3: ConvLike
    gsb: nn.Sequential | GSBottleneck
    res: ConvLike | None

    def fit(self) -> None:
        require(self.cv1.in_channels == self.cv2.in_channels, "cv1 and cv2 share one input")
        joined = self.cv1.out_channels + self.cv2.out_channels
        require(self.cv3.in_channels == joined, f"cv3 must take both paths, {joined} channels")

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.cv2(x), self.gsb(self.cv1(x))), 1))

    def fold(self) -> None:
        super().fold()
        self.res = None


class VoVGSCSPExchanged(VoVGSCSP):
    """y = cv3(cat(gsb(cv1(x)), cv2(x)))."""

    origin = "fork VoVGSCSP: the deep path first"

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.gsb(self.cv1(x)), self.cv2(x)), 1))
