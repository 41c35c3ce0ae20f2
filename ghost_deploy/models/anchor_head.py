"""Head with anchors of the YOLOv5 and YOLOv7 repositories, and its decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.fields import Channels, integer
from ghost_deploy.models.head_base import Branch, Head

YOLOV5_ANCHORS = (
    (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
    (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
    (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
)
"""Width and height in pixels of the three anchors of strides 8, 16 and 32, for COCO at 640 (Jocher
2020, YOLOv5, models/yolov5n.yaml)."""

_AGREEMENT = 0.01
"""Largest relative difference of the two records of the anchors in a file: half precision twice."""

_CERTAIN = 20.0
"""A logit whose probability is 1 in float32."""


class Implicit(Block):
    """A learned vector, one value a channel (Wang et al. 2021, YOLOR, arXiv:2105.04206).

    `ImplicitA` adds it to a map, `ImplicitM` multiplies a map by it.
    """

    harmless = frozenset({"mean", "std"})
    channel: Channels
    implicit: nn.Parameter

    def __init__(self, channel: int, value: float = 0.0) -> None:
        super().__init__()
        self.channel = channel
        self.implicit = nn.Parameter(torch.full((1, channel, 1, 1), value))

    def fit(self) -> None:
        shape = (1, self.channel, 1, 1)
        require(self.implicit.shape == shape, f"implicit must have the shape {shape}")


class ImplicitA(Implicit):
    """y = implicit + x."""

    origin = "YOLOv7 ImplicitA"

    def forward(self, x: Tensor) -> Tensor:
        return self.implicit + x


class ImplicitM(Implicit):
    """y = implicit * x."""

    origin = "YOLOv7 ImplicitM"

    def forward(self, x: Tensor) -> Tensor:
        return self.implicit * x


class AnchorDetect(Head):
    """Head of YOLOv5, one 1x1 convolution a level; of YOLOv7 with implicit knowledge around it.

    Each cell has `na` anchors with a box relative to the anchor, an objectness and `nc` classes.
    With s the sigmoid of a logit, the centre is (2 s - 0.5 + cell) * stride and the size is
    (2 s)^2 * anchor (ultralytics/yolov5 v7.0, models/yolo.py, Detect.forward).

    Buffers: `anchors` (nl, na, 2) width and height in cells of the level. Files from before v6.0
    have `anchor_grid` (nl, 1, na, 1, 1, 2) too, the same in pixels, which their code computes with.
    """

    origin = "YOLOv5 Detect"
    decoder = "anchors"
    harmless = frozenset(
        {
            "anchor_grid", "concat", "dynamic", "end2end", "export", "format", "grid",
            "include_nms", "inplace", "onnx_dynamic", "training",
        }
    )  # fmt: skip
    m: nn.ModuleList
    ia: nn.ModuleList | None
    im: nn.ModuleList | None
    na: Annotated[int, integer(1, 64)]
    no: Annotated[int, integer(6, 100_005)]
    anchors: Tensor
    anchor_grid: Tensor | None

    def __init__(
        self,
        nc: int,
        channels: Sequence[int],
        anchors: Sequence[Sequence[float]] = YOLOV5_ANCHORS,
        strides: Sequence[int] = (8, 16, 32),
    ) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(channels), len(anchors[0]) // 2
        self.stride = tuple(strides)
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * self.na, 1) for c in channels)
        self.ia = self.im = None
        pixels = torch.tensor(anchors, dtype=torch.float32).view(self.nl, self.na, 2)
        self.register_buffer("anchors", pixels / torch.tensor(strides)[:, None, None])
        self.register_buffer("anchor_grid", None)

    def fit(self) -> None:
        super().fit()
        self._fit_anchors()
        require(self.no == self.nc + 5, f"no is {self.no}, nc is {self.nc}")
        require((self.ia is None) == (self.im is None), "ia and im go together")
        expect_each(self.m, nn.Conv2d)
        for name, each in (("m", self.m), ("ia", self.ia), ("im", self.im)):
            count = self.nl if each is None else len(each)
            require(count == self.nl, f"{name} has {count} levels, nl is {self.nl}")
        out = self.na * self.no
        for conv in self._convs():
            shape = (conv.out_channels, conv.kernel_size, conv.stride, conv.groups)
            fits = shape == (out, (1, 1), (1, 1), 1) and conv.padding == (0, 0)
            require(fits and conv.bias is not None, f"m must be 1x1 convolutions to {out} channels")
        if self.ia is not None and self.im is not None:
            expect_each(self.ia, ImplicitA)
            expect_each(self.im, ImplicitM)
            for conv, ahead, behind in self._implicit():
                widths = (ahead.channel, behind.channel)
                require(widths == (conv.in_channels, out), f"ia and im of {widths} channels")

    def _fit_anchors(self) -> None:
        shape = (self.nl, self.na, 2)
        require(self.anchors.shape == shape, f"anchors must have the shape {shape}")
        if self.anchor_grid is not None:
            grid = (self.nl, 1, self.na, 1, 1, 2)
            require(self.anchor_grid.shape == grid, f"anchor_grid must have the shape {grid}")

    def _convs(self) -> list[nn.Conv2d]:
        return [conv for conv in self.m if isinstance(conv, nn.Conv2d)]

    def _implicit(self) -> list[tuple[nn.Conv2d, Implicit, Implicit]]:
        """The convolution of each level and what is added before and multiplied behind it; none
        for YOLOv5."""
        if self.ia is None or self.im is None:
            return []
        return [
            (conv, ahead, behind)
            for conv, ahead, behind in zip(self._convs(), self.ia, self.im, strict=True)
            if isinstance(ahead, Implicit) and isinstance(behind, Implicit)
        ]

    def verify(self) -> None:
        sizes = self._pixels()
        require(bool((sizes > 0).all()), "anchors must be larger than 0")
        if self.stride and self.anchor_grid is not None:
            apart = (self.anchors * self._steps() / sizes - 1).abs().max()
            require(bool(apart <= _AGREEMENT), "anchors and anchor_grid must agree")
        if self.ia is not None and self.nc == 1:
            self._make_certain()

    @property
    def anchor_sizes(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """(width, height) in pixels of the anchors of each level."""
        levels = self._pixels().tolist()
        return tuple(tuple((width, height) for width, height in level) for level in levels)

    def _pixels(self) -> Tensor:
        """(nl, na, 2) width and height in pixels."""
        if self.anchor_grid is not None:
            return self.anchor_grid.view(self.nl, self.na, 2)
        return self.anchors * self._steps()

    def _steps(self) -> Tensor:
        steps = torch.tensor(self.stride, dtype=self.anchors.dtype, device=self.anchors.device)
        return steps[:, None, None]

    @torch.no_grad()
    def _make_certain(self) -> None:
        """Set the only class of YOLOv7 certain: it is not trained, and YOLOv7 takes the objectness
        alone for the score (WongKinYiu/yolov7, utils/general.py, non_max_suppression)."""
        for conv, _, gain in self._implicit():
            assert conv.bias is not None
            conv.weight.view(self.na, self.no, -1)[:, 5] = 0
            conv.bias.view(self.na, self.no)[:, 5] = _CERTAIN
            gain.implicit.view(self.na, self.no)[:, 5] = 1

    def fold(self) -> None:
        """Fold the implicit knowledge: m (W (x + a) + b) = (m W) x + m (W a + b)."""
        with torch.no_grad():
            for conv, ahead, behind in self._implicit():
                assert conv.bias is not None
                gain = behind.implicit.flatten()
                conv.bias += conv.weight.flatten(1) @ ahead.implicit.flatten()
                conv.bias *= gain
                conv.weight *= gain[:, None, None, None]
        self.ia = self.im = None

    def logits(
        self, features: Sequence[Tensor], branch: Branch = "one2many"
    ) -> tuple[list[Tensor], ...]:
        """Return the logits (B, na * (5 + nc), h, w) of each level, anchor by anchor."""
        if branch != "one2many":
            raise ValueError(f"this head has no {branch} branch")
        if levels := self._implicit():
            parts = zip(features, levels, strict=True)
            return ([behind(conv(ahead(x))) for x, (conv, ahead, behind) in parts],)
        return ([conv(x) for x, conv in zip(features, self.m, strict=True)],)

    def raw(self, features: Sequence[Tensor], branch: Branch = "one2many") -> Tensor:
        """Return the logits of all anchors, (B, A, 5 + nc), in the order of `HeadSpec`."""
        (levels,) = self.logits(features, branch)
        parts = [
            level.view(len(level), self.na, self.no, *level.shape[2:]).permute(0, 1, 3, 4, 2)
            for level in levels
        ]
        return torch.cat([part.reshape(len(part), -1, self.no) for part in parts], 1)

    def decode(
        self, raw: Tensor, sizes_hw: Sequence[tuple[int, int]], *, xyxy: bool = False
    ) -> Tensor:
        """Decode to (B, A, 5 + nc): boxes in letterboxed pixels, objectness, classes."""
        if xyxy:
            raise ValueError("this head has no one2one branch")
        cells, steps, sizes = make_anchor_grid(sizes_hw, self.stride, self._pixels())
        y = raw.sigmoid()
        xy = (y[..., :2] * 2 - 0.5 + cells) * steps
        wh = (y[..., 2:4] * 2) ** 2 * sizes
        return torch.cat((xy, wh, y[..., 4:]), -1)


def make_anchor_grid(
    sizes_hw: Sequence[tuple[int, int]], strides: Sequence[int], anchors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return cell, stride and size of all anchors, in the order of `HeadSpec.anchor_sizes`.

    Args:
        sizes_hw: (height, width) of the map of each level, cells.
        strides: of each level, pixels per cell.
        anchors: (nl, na, 2) width and height in pixels.

    Returns:
        (A, 2) column and row, (A, 1) stride in pixels, (A, 2) width and height in pixels, of the
        type and device of `anchors`.
    """
    cells, steps, sizes = [], [], []
    for (height, width), stride, level in zip(sizes_hw, strides, anchors, strict=True):
        x = torch.arange(width, device=anchors.device, dtype=anchors.dtype)
        y = torch.arange(height, device=anchors.device, dtype=anchors.dtype)
        own = torch.stack((x.repeat(height), y.repeat_interleave(width)), 1)
        cells.append(own.repeat(len(level), 1))
        steps.append(torch.full_like(cells[-1][:, :1], stride))
        sizes.append(level.repeat_interleave(height * width, 0))
    return torch.cat(cells), torch.cat(steps), torch.cat(sizes)
