"""Anchor-free head: raw maps, and their decoding to boxes by the original's arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import Conv, DWConv
from ghost_deploy.models.fields import Channels, integer
from ghost_deploy.models.head_base import Branch, Head


class DFL(Block):
    """Expectation of a discrete distribution over `c1` bins, for each side of a box.

    d = sum_i i * softmax(z)_i (Li et al. 2020, arXiv:2006.04388), the sum as a 1x1 convolution
    whose fixed weights are 0, 1, ..., c1 - 1.
    """

    origin = "Ultralytics DFL"
    conv: nn.Conv2d
    c1: Annotated[int, integer(2, 256)]

    def __init__(self, c1: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float32).view(1, c1, 1, 1)
        self.c1 = c1

    def fit(self) -> None:
        shape = (self.conv.in_channels, self.conv.out_channels, self.conv.kernel_size)
        require(shape == (self.c1, 1, (1, 1)), "conv must map c1 bins to one value")
        require(self.conv.bias is None, "conv has no bias")

    def verify(self) -> None:
        bins = torch.arange(self.c1, dtype=self.conv.weight.dtype)
        exact = torch.equal(self.conv.weight.flatten(), bins)
        require(exact, f"the weights of conv must be 0, 1, ..., {self.c1 - 1}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 * c1, A) logits -> (B, 4, A) distances in cells."""
        batch, _, anchors = x.shape
        bins = x.view(batch, 4, self.c1, anchors).transpose(2, 1).softmax(1)
        distances: Tensor = self.conv(bins)
        return distances.view(batch, 4, anchors)


class Detect(Head):
    """Anchor-free head of YOLOv8, v9, v10 and 11, with one branch or two.

    Each level has a box branch (`cv2`) and a class branch (`cv3`), whose layers differ between
    versions and are read from the file. A v10 head has a second pair, `one2one_*`,
    trained to need no NMS; a file written after fusion may have only this pair.

    Attributes:
        reg_max: bins of the box distribution.
    """

    origin = "Ultralytics Detect"
    decoder = "dfl"
    harmless = frozenset(
        {
            "agnostic_nms", "anchors", "dynamic", "end2end", "export", "format", "inplace",
            "legacy", "max_det", "no", "separate_outputs", "shape", "strides", "xyxy",
        }
    )  # fmt: skip
    cv2: nn.ModuleList | None
    cv3: nn.ModuleList | None
    one2one_cv2: nn.ModuleList | None
    one2one_cv3: nn.ModuleList | None
    dfl: DFL | nn.Identity
    reg_max: Channels

    def __init__(
        self,
        nc: int,
        channels: Sequence[int],
        reg_max: int = 16,
        legacy: bool = True,
        one2one: bool = False,
    ) -> None:
        super().__init__()
        self.nc, self.nl, self.reg_max = nc, len(channels), reg_max
        box = max(16, channels[0] // 4, reg_max * 4)
        cls = max(channels[0], min(nc, 100))
        self.cv2 = nn.ModuleList(_dense_branch(c, box, 4 * reg_max) for c in channels)
        class_branch = _dense_branch if legacy else _depthwise_class_branch
        self.cv3 = nn.ModuleList(class_branch(c, cls, nc) for c in channels)
        self.one2one_cv2 = copy.deepcopy(self.cv2) if one2one else None
        self.one2one_cv3 = copy.deepcopy(self.cv3) if one2one else None
        self.dfl = DFL(reg_max) if reg_max > 1 else nn.Identity()

    def fit(self) -> None:
        branches = [("cv2", "cv3"), ("one2one_cv2", "one2one_cv3")]
        present = [names for names in branches if self._fit_branch(*names)]
        require(bool(present), "it has no branch at all")
        self._fit_common()

    def _fit_common(self) -> None:
        bins = self.dfl.c1 if isinstance(self.dfl, DFL) else 1
        require(bins == self.reg_max, f"dfl has {bins} bins, reg_max is {self.reg_max}")
        super().fit()

    def _fit_branch(self, box_name: str, class_name: str) -> bool:
        boxes, classes = getattr(self, box_name), getattr(self, class_name)
        require((boxes is None) == (classes is None), f"{box_name} and {class_name} go together")
        if boxes is None:
            return False
        for name, levels, width in (
            (box_name, boxes, 4 * self.reg_max),
            (class_name, classes, self.nc),
        ):
            require(len(levels) == self.nl, f"{name} has {len(levels)} levels, nl is {self.nl}")
            self._require_last(name, levels, width)
        return True

    def _require_last(self, name: str, levels: Iterable[nn.Module], width: int) -> None:
        """Require that each level of a branch ends in a convolution of `width` channels."""
        for level in levels:
            last = level[-1] if isinstance(level, nn.Sequential) and len(level) else level
            fits = isinstance(last, nn.Conv2d) and last.out_channels == width
            require(fits, f"{name} must end in a Conv2d of {width} channels")

    @property
    def has_one2many(self) -> bool:
        """Whether it has the branch that needs NMS."""
        return self.cv2 is not None

    @property
    def has_one2one(self) -> bool:
        """Whether it has the branch that needs no NMS."""
        return self.one2one_cv2 is not None

    def raw(self, features: Sequence[Tensor], branch: Branch = "one2many") -> Tensor:
        """Return the logits of all levels, (B, 4 * reg_max + nc, A).

        Box distributions first (left, top, right, bottom, each reg_max bins), then classes;
        anchors row by row, levels in the order of strides.
        """
        levels = [
            torch.cat((box, cls), 1).flatten(2)
            for box, cls in zip(*self.logits(features, branch), strict=True)
        ]
        return torch.cat(levels, 2)

    def logits(
        self, features: Sequence[Tensor], branch: Branch = "one2many"
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the logits of each level: boxes (B, 4 * reg_max, h, w), classes (B, nc, h, w).

        Args:
            features: the map of each level, (B, C, h, w).
            branch: a branch of this head.

        Raises:
            ValueError: the head does not have this branch.
        """
        boxes, classes = (
            (self.cv2, self.cv3) if branch == "one2many" else (self.one2one_cv2, self.one2one_cv3)
        )
        if boxes is None or classes is None:
            raise ValueError(f"this head has no {branch} branch")
        return (
            [box(x) for x, box in zip(features, boxes, strict=True)],
            [cls(x) for x, cls in zip(features, classes, strict=True)],
        )

    def decode(
        self, raw: Tensor, sizes_hw: Sequence[tuple[int, int]], *, xyxy: bool = False
    ) -> Tensor:
        """Decode boxes and class probabilities by the original's arithmetic, to (B, 4 + nc, A).

        Args:
            raw: output of `raw`, (B, 4 * reg_max + nc, A).
            sizes_hw: (height, width) of the map of each level, cells.
            xyxy: corners instead of centre x, centre y, width, height; letterboxed pixels.
        """
        logits, classes = torch.split(raw, [4 * self.reg_max, self.nc], 1)
        points, stride = make_anchors(sizes_hw, self.strides, device=raw.device, dtype=raw.dtype)
        left_top, right_bottom = self.dfl(logits).chunk(2, 1)
        top_left, bottom_right = points - left_top, points + right_bottom
        if xyxy:
            box = torch.cat((top_left, bottom_right), 1)
        else:
            centre = (top_left + bottom_right) / 2
            box = torch.cat((centre, bottom_right - top_left), 1)
        return torch.cat((box * stride, classes.sigmoid()), 1)


def make_anchors(
    sizes_hw: Sequence[tuple[int, int]],
    strides: Sequence[int],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return the cell centres and strides of all anchors.

    Args:
        sizes_hw: (height, width) of the map of each level, cells.
        strides: of each level, pixels per cell.
        device, dtype: of the result.

    Returns:
        Points (2, A), x and y in cells, row by row, level by level; strides (1, A), pixels per
        cell.
    """
    points, scales = [], []
    for (height, width), stride in zip(sizes_hw, strides, strict=True):
        x = torch.arange(width, device=device, dtype=dtype) + 0.5
        y = torch.arange(height, device=device, dtype=dtype) + 0.5
        points.append(torch.stack((x.repeat(height), y.repeat_interleave(width))))
        scales.append(torch.full((1, height * width), stride, device=device, dtype=dtype))
    return torch.cat(points, 1), torch.cat(scales, 1)


def top_k(decoded: Tensor, limit: int = 300) -> Tensor:
    """Return the best detections of a one2one branch, without NMS.

    Selects the `limit` anchors of the highest scores, then the `limit` best (anchor, class) pairs
    among them: an anchor may occur with several classes.

    Args:
        decoded: (B, 4 + nc, A), boxes as corners.
        limit: maximum number of detections; at most the number of anchors.

    Returns:
        (B, K, 6): corners, score, class id as float; by descending score.
    """
    boxes, scores = torch.split(decoded.transpose(1, 2), [4, decoded.shape[1] - 4], 2)
    limit = min(limit, boxes.shape[1])
    classes = scores.shape[2]
    anchor = scores.amax(2).topk(limit).indices.unsqueeze(2)
    boxes = boxes.gather(1, anchor.expand(-1, -1, 4))
    scores = scores.gather(1, anchor.expand(-1, -1, classes))
    best, index = scores.flatten(1).topk(limit)
    boxes = boxes.gather(1, (index // classes).unsqueeze(2).expand(-1, -1, 4))
    label = (index % classes).to(best.dtype)
    return torch.cat((boxes, best.unsqueeze(2), label.unsqueeze(2)), 2)


def _dense_branch(c: int, width: int, out: int) -> nn.Sequential:
    """The box branch, and the class branch of v8 and v9 (`legacy`)."""
    return nn.Sequential(Conv(c, width, 3), Conv(width, width, 3), nn.Conv2d(width, out, 1))


def _depthwise_class_branch(c: int, width: int, nc: int) -> nn.Sequential:
    """The class branch of 11 and later."""
    return nn.Sequential(
        nn.Sequential(DWConv(c, c, 3), Conv(c, width, 1)),
        nn.Sequential(DWConv(width, width, 3), Conv(width, width, 1)),
        nn.Conv2d(width, nc, 1),
    )
