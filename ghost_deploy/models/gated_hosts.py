"""C2f and C3 of forks with an attention beside their convolutions, or another first convolution.

Where the attention works is not in a file: definitions with it compete (`registry.RIVALS`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ghost_deploy.models.block import Names, require
from ghost_deploy.models.conv import ConvLike
from ghost_deploy.models.feature_gate import FeatureGate
from ghost_deploy.models.fork_hosts import C2fHost, C3Host

_GATES: Names = {
    "gate": (
        "att", "attn", "attention", "atten", "ca", "eca", "se", "ema", "cbam", "coordatt",
        "coord_att", "simam", "coordatten", "CA", "ECA", "SE", "EMA", "CBAM", "SimAM",
    )
}  # fmt: skip


class C3GateLast(C3Host):
    """y = g(cv3(cat(m(cv1(x)), cv2(x)))), g an attention."""

    origin = "fork C3 with attention on its output"
    aliases: ClassVar[Names] = _GATES
    gate: FeatureGate

    def fit(self) -> None:
        super().fit()
        _require_width(self.gate, self.gated_width)

    @property
    def gated_width(self) -> int:
        """Channels of the map that the attention takes."""
        return self.cv3.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(super().forward(x))


class C3GateJoined(C3GateLast):
    """y = cv3(g(cat(m(cv1(x)), cv2(x))))."""

    origin = "fork C3 with attention on its joined paths"

    @property
    def gated_width(self) -> int:
        return self.cv3.in_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(self.gate(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1)))


class C3GateDeep(C3GateLast):
    """y = cv3(cat(g(m(cv1(x))), cv2(x)))."""

    origin = "fork C3 with attention behind its members"

    @property
    def gated_width(self) -> int:
        return self.cv1.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.gate(self.m(self.cv1(x))), self.cv2(x)), 1))


class C3GateInput(C3GateLast):
    """y = cv3(cat(m(cv1(g(x))), cv2(g(x))))."""

    origin = "fork C3 with attention on its input"

    @property
    def gated_width(self) -> int:
        return self.cv1.in_channels

    def forward(self, x: Tensor) -> Tensor:
        return super(C3GateLast, self).forward(self.gate(x))


class C2fGateLast(C2fHost):
    """A `C2fHost`, then an attention."""

    origin = "fork C2f with attention on its output"
    aliases: ClassVar[Names] = _GATES
    gate: FeatureGate

    def fit(self) -> None:
        super().fit()
        _require_width(self.gate, self.gated_width)

    @property
    def gated_width(self) -> int:
        """Channels of the map that the attention takes."""
        return self.cv2.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(super().forward(x))


class C2fGateJoined(C2fGateLast):
    """A `C2fHost` whose joined maps pass an attention before cv2."""

    origin = "fork C2f with attention on its joined maps"

    @property
    def gated_width(self) -> int:
        return self.cv2.in_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.gate(self.joined(x)))


class C2fGateInput(C2fGateLast):
    """An attention, then a `C2fHost`."""

    origin = "fork C2f with attention on its input"

    @property
    def gated_width(self) -> int:
        return self.cv1.in_channels

    def forward(self, x: Tensor) -> Tensor:
        return super(C2fGateLast, self).forward(self.gate(x))


class C2fTwoPaths(C2fHost):
    """y = cv2(cat(cv0(x), cv1(x), m0(cv1(x)), ...)): two convolutions in place of the split."""

    origin = "fork C2f whose halves have a convolution each, cv0 and cv1"
    cv0: ConvLike

    def fit(self) -> None:
        self.c = self.c or self.cv1.out_channels
        halves = (self.cv0.out_channels, self.cv1.out_channels)
        require(halves == (self.c, self.c), f"cv0 and cv1 must give c = {self.c} channels")
        require(self.cv0.in_channels == self.cv1.in_channels, "cv0 and cv1 share one input")
        self._fit_joined()

    def halves(self, x: Tensor) -> list[Tensor]:
        return [self.cv0(x), self.cv1(x)]


class C2fAfter(C2fHost):
    """A `C2fHost` of cv0(x)."""

    origin = "fork C2f behind a convolution cv0"
    cv0: ConvLike

    def fit(self) -> None:
        super().fit()
        require(self.cv0.out_channels == self.cv1.in_channels, "cv1 must follow cv0")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.cv0(x))


class C3After(C3Host):
    """A `C3Host` of cv0(x)."""

    origin = "fork C3 behind a convolution cv0"
    cv0: ConvLike

    def fit(self) -> None:
        super().fit()
        require(self.cv0.out_channels == self.cv1.in_channels, "cv1 must follow cv0")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.cv0(x))


def _require_width(gate: FeatureGate, width: int) -> None:
    same = gate.width in (None, width)
    require(same, f"its attention takes {gate.width} channels, not {width}")
