"""GhostNet V2 modules of forks, whose attention gates one half or pools in another way."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import require
from ghost_deploy.models.ghostnet_v2 import GhostModuleV2


class GhostModuleV2MaxPool(GhostModuleV2):
    """A `GhostModuleV2` whose attention takes the maximum of 2x2 cells."""

    origin = "fork GhostModuleV2: attention after a maximum pooling"

    def fit(self) -> None:
        super().fit()
        require(self.short_conv is not None, "it has no attention")

    def gated(self, y: Tensor, x: Tensor, branch: nn.Sequential) -> Tensor:
        weights = self.gate_fn(branch(functional.max_pool2d(x, 2, 2)))
        return y * functional.interpolate(weights, size=y.shape[-2:], mode="nearest")


class GhostModuleV2Before(GhostModuleV2):
    """y = primary(x) * g(x); cat(y, cheap(y)): the attention gates the primary half."""

    origin = "fork GhostModuleV2: attention before the cheap operation"
    pools: ClassVar[bool] = True
    gates_cheap: ClassVar[bool] = True

    @property
    def gate_width(self) -> int:
        return self._conv_of(self.primary_conv).out_channels

    def fit(self) -> None:
        super().fit()
        require(self.short_conv is not None, "it has no attention")

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary_conv(x)
        gated = y * self._weights(x, y)
        cheap = self.cheap_operation(gated if self.gates_cheap else y)
        made = gated.shape[1] + self._conv_of(self.cheap_operation).out_channels
        joined = torch.cat((gated, cheap), 1)
        return joined if made == self.oup else joined[:, : self.oup]

    def _weights(self, x: Tensor, y: Tensor) -> Tensor:
        assert self.short_conv is not None
        if not self.pools:
            return self.gate_fn(self.short_conv(x))
        weights = self.gate_fn(self.short_conv(functional.avg_pool2d(x, 2, 2)))
        return functional.interpolate(weights, size=y.shape[-2:], mode="nearest")

    @staticmethod
    def _conv_of(part: nn.Sequential) -> nn.Conv2d:
        conv = part[0]
        assert isinstance(conv, nn.Conv2d)
        return conv


class GhostModuleV2BeforeNoPool(GhostModuleV2Before):
    """A `GhostModuleV2Before` whose attention works at full size."""

    origin = "fork GhostModuleV2: attention at full size before the cheap operation"
    pools: ClassVar[bool] = False


class GhostModuleV2Beside(GhostModuleV2Before):
    """y = primary(x); cat(y * g(x), cheap(y))."""

    origin = "fork GhostModuleV2: attention on the primary half of the result alone"
    gates_cheap: ClassVar[bool] = False


class GhostModuleV2BesideNoPool(GhostModuleV2Beside):
    """A `GhostModuleV2Beside` whose attention works at full size."""

    origin = "fork GhostModuleV2: full-size attention on the primary half of the result alone"
    pools: ClassVar[bool] = False
