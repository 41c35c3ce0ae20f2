"""Learned fusion of several maps, as in BiFPN (Tan et al. 2020, arXiv:1911.09070)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, Names, require
from ghost_deploy.models.conv import ConvLike
from ghost_deploy.models.fields import Count, number


class _Weighted(Block):
    """Maps x_i times w_i / (sum of w + epsilon); w passes ReLU first where there is one."""

    harmless = frozenset({"c1", "c2", "dimension", "fusion", "n", "num", "act_w"})
    aliases: ClassVar[Names] = {
        "w": ("weight", "weights", "fusion_weight", "fusion_weights", "w1", "w2"),
        "epsilon": ("eps", "e"),
        "relu": ("act", "w_act"),
        "d": ("dim", "dimension"),
    }
    w: nn.Parameter
    epsilon: Annotated[float, number(0.0, 1e-1)] = 1e-4
    relu: nn.ReLU | None

    def fit(self) -> None:
        count = self.w.numel()
        require(self.w.ndim == 1 and 2 <= count <= 16, f"w must be 2 to 16 numbers, got {count}")
        self._count = count

    def weighted(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps, multiplied by their weights.

        Raises:
            ValueError: there are not as many maps as weights.
        """
        if len(maps) != self._count:
            raise ValueError(f"{self._count} weights got {len(maps)} maps")
        w = self.w if self.relu is None else self.relu(self.w)
        share = w / (w.sum() + self.epsilon)
        return [share[index] * each for index, each in enumerate(maps)]


class WeightedConcat(_Weighted):
    """y = cat(w_0 x_0, w_1 x_1, ...), w divided by its sum + epsilon."""

    origin = "fork Concat_BiFPN: weighted concatenation"
    d: Count = 1

    def fit(self) -> None:
        super().fit()
        require(self.d == 1, f"it must join channels, axis 1, got axis {self.d}")

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(self.weighted(x), self.d)


class WeightedSum(_Weighted):
    """y = conv(act(w_0 x_0 + w_1 x_1 + ...)), w divided by its sum + epsilon."""

    origin = "fork BiFPN_Add: weighted sum"
    aliases: ClassVar[Names] = {
        **_Weighted.aliases,
        "relu": ("w_act",),
        "silu": ("act", "swish", "activation"),
    }
    conv: ConvLike | nn.Conv2d | None
    silu: Activation | None
    d: Count = 1

    def forward(self, x: list[Tensor]) -> Tensor:
        first, *others = self.weighted(x)
        y = first
        for each in others:
            y = y + each
        y = y if self.silu is None else self.silu(y)
        result: Tensor = y if self.conv is None else self.conv(y)
        return result
