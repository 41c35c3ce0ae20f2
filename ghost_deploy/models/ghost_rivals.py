"""Ghost modules with the parts of known ones and another arithmetic, as seen in forks.

Forks change `forward` and keep the name and the parts of a class. `registry.RIVALS` names these
definitions beside the ones that they compete with; recorded statistics decide between them. They
never change their children, which the competing definitions share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import require
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.ghostnet_v2 import GhostConvV2, GhostModuleV2


class GhostConvExchanged(GhostConv):
    """y = cv1(x); cat(cv2(y), y): the cheap half comes first."""

    origin = "fork GhostConv: cat(cv2(y), y), the cheap half first"

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat((self.cv2(y), y), 1)


class GhostConvReLU(GhostConv):
    """A `GhostConv` that computes ReLU where its parts have SiLU."""

    origin = "fork GhostConv: ReLU in place of its SiLU"

    def fit(self) -> None:
        super().fit()
        kinds = (self.cv1.act, self.cv2.act)
        require(any(isinstance(act, nn.SiLU) for act in kinds), "it has no SiLU to replace")

    def forward(self, x: Tensor) -> Tensor:
        y = _rectified(self.cv1, x)
        return torch.cat((y, _rectified(self.cv2, y)), 1)


class GhostBottleneckNoAddition(GhostBottleneck):
    """y = conv(x) where the shortcut is the identity; the shortcut is not used."""

    origin = "fork GhostBottleneck: conv(x), its identity shortcut is not added"

    def fit(self) -> None:
        super().fit()
        require(isinstance(self.shortcut, nn.Identity), "its shortcut has weights, so it is used")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class GhostModuleV2NoPool(GhostModuleV2):
    """A `GhostModuleV2` whose attention works at full size: y * gate(short_conv(x))."""

    origin = "fork GhostModuleV2: attention at full size, no pooling"

    def fit(self) -> None:
        super().fit()
        require(self.short_conv is not None, "it has no attention")

    def gated(self, y: Tensor, x: Tensor, branch: nn.Sequential) -> Tensor:
        return torch.mul(y, self.gate_fn(branch(x)))


class GhostConvV2NoPool(GhostConvV2):
    """A `GhostConvV2` whose attention works at full size: y * gate(short_conv(x))."""

    origin = "fork GhostConvV2: attention at full size, no pooling"

    def fit(self) -> None:
        super().fit()
        require(self.short_conv is not None, "it has no attention")

    def gated(self, y: Tensor, x: Tensor, branch: nn.Sequential) -> Tensor:
        return torch.mul(y, self.gate_fn(branch(x)))


def _rectified(part: Conv, x: Tensor) -> Tensor:
    if not isinstance(part.act, nn.SiLU):
        return part(x)
    return functional.relu(part.bn(part.conv(x)))
