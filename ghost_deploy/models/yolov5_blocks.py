"""Blocks of the YOLOv5 and YOLOv7 repositories that Ultralytics' package does not have."""

from __future__ import annotations

from torch import Tensor, nn

from ghost_deploy.models.block import Block
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.csp import C3
from ghost_deploy.models.fields import Channels
from ghost_deploy.models.legacy_blocks import SPP


class C3SPP(C3):
    """y = cv3(cat(m(cv1(x)), cv2(x))) with an `SPP` for m."""

    origin = "YOLOv5 C3SPP"
    m: SPP  # type: ignore[assignment]

    def __init__(self, c1: int, c2: int, k: tuple[int, ...] = (5, 9, 13)) -> None:
        Block.__init__(self)
        hidden = c2 // 2
        self.cv1, self.cv2, self.cv3 = Conv(c1, hidden), Conv(c1, hidden), Conv(2 * hidden, c2)
        self.m = SPP(hidden, hidden, k)

    def fit(self) -> None:
        """All that `C3` requires but of its members."""


class PoolLayer(Block):
    """y = m(x), one pooling; `MP` halves a map, `SP` keeps its size."""

    origin = "YOLOv7 MP or SP"
    m: nn.MaxPool2d

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.m = nn.MaxPool2d(k, k)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.m(x)
        return y


class Contract(Block):
    """Cells of gain x gain become channels: (B, C, H, W) to (B, C * gain^2, H / gain, W / gain).

    The channel is (row, column, c): the row and column in the cell vary slowest.
    """

    origin = "YOLOv5 Contract"
    gain: Channels

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.gain
        y = x.view(batch, channels, height // side, side, width // side, side)
        y = y.permute(0, 3, 5, 1, 2, 4)
        return y.reshape(batch, channels * side * side, height // side, width // side)


class Expand(Block):
    """Channels become cells of gain x gain, the inverse of `Contract`."""

    origin = "YOLOv5 Expand"
    gain: Channels

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.gain
        y = x.view(batch, side, side, channels // side**2, height, width)
        y = y.permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, channels // side**2, height * side, width * side)
