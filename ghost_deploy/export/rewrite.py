"""The network as it is exported: the same arithmetic as `Head.decode`, arranged to run fast.

Three rewrites, all exact in real arithmetic:

- Softmax and expectation over the bins are one matrix product. With e_i = exp(z_i - max z),
  d = sum_i i e_i / sum_i e_i: the product of [0 .. n-1; 1 .. 1] with e gives both sums, in the
  memory order in which the convolution leaves the bins, without a transpose. Milliseconds of the
  whole tail at 640 (8400 anchors, one thread; ONNX Runtime 1.32, OpenVINO 2026.4, AVX-512):
  this form 1.06 and 0.92; softmax on the last axis and a product with the bins 1.37 and 2.12;
  raw logits without any decoding 0.68 and 0.55. The original, softmax on axis 1, costs 13 % of
  a whole run in ONNX Runtime.
- Levels are decoded before they are joined, so that the logits are never copied.
- Anchor centres are multiplied by the stride beforehand, as constants of a static graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.export.anchor_tail import AnchorTail
from ghost_deploy.models.head import make_anchors
from ghost_deploy.models.head_base import Branch, Head
from ghost_deploy.models.network import DetectionNet


class ExportGraph(nn.Module):
    """From the image tensor to the output that `HeadSpec.decoder` names, float32 on both sides.

    Args:
        net: a fused copy, float32 or float16. Everything before the tail is computed in its
            dtype; the tail is float32 always: the spacing of float16 at 512 is half a pixel.
        spec: of the export; a dynamic `InputSpec` makes the anchors part of the graph.

    Raises:
        UsageError: the checkpoint's head lacks the branch that the spec names.
    """

    def __init__(self, net: DetectionNet, spec: ModelSpec) -> None:
        super().__init__()
        self.net = net
        self.dtype = next(net.parameters()).dtype
        self.branch = spec.head.branch
        _require_branch(net.head, self.branch)
        self.pixels = Pixels(spec.input) if spec.input.embedded else None
        self.tail = AnchorTail(spec) if spec.head.anchor_sizes else Tail(spec)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB from 0 to 1, or (B, H, W, 3) BGR pixels of an embedded preprocessing,
        -> the output of the spec's decoder."""
        image = images if self.pixels is None else self.pixels(images)
        features = self.net.features(_cast(image, self.dtype))
        logits = self.net.head.logits(features, self.branch)
        result: Tensor = self.tail(*([_cast(x, torch.float32) for x in kind] for kind in logits))
        return result


class Pixels(nn.Module):
    """The preprocessing after the letterbox: uint8 (B, H, W, 3) BGR to float32 (B, 3, H, W).

    Computes `processing.preprocess.pixel_table` step by step, so that the network gets the same
    numbers; OpenVINO alone turns the division into a product with the rounded reciprocal, which
    is up to 6e-8 off. The cast comes first: TensorRT has uint8 at a network's border only. Of
    eight orders of these operators this one was the fastest over both CPU runtimes.
    """

    mean: Tensor
    std: Tensor
    flip: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("flip", torch.tensor((2, 1, 0)))
        for name, values in (("mean", spec.mean), ("std", spec.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        image = (pixels.to(torch.float32) / self.spec.divisor).permute(0, 3, 1, 2)
        if self.spec.color == "rgb":
            image = image.index_select(1, self.flip)
        if any(self.spec.mean):
            image = image - self.mean
        return image if set(self.spec.std) == {1.0} else image / self.std


class Tail(nn.Module):
    """Logits of all levels to boxes and scores."""

    sums: Tensor
    points: Tensor
    stride: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        head, size = spec.head, spec.input
        self.strides, self.reg_max = head.strides, head.reg_max
        self.end_to_end = head.end_to_end
        self.static = size.min_hw == size.max_hw
        # A constant, as TensorRT requires it, that the smallest input can fill.
        self.limit = spec.output_shape()[1]
        bins = torch.arange(self.reg_max, dtype=torch.float32)
        self.register_buffer("sums", torch.stack((bins, torch.ones_like(bins))))
        if self.static:
            height, width = size.size_hw
            points, stride = make_anchors(
                [(height // s, width // s) for s in self.strides], self.strides
            )
            self.register_buffer("points", points * stride)
            self.register_buffer("stride", stride)

    def forward(self, boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
        """Box logits (B, 4 * reg_max, h, w) and class logits (B, nc, h, w) of each level."""
        points, stride = (self.points, self.stride) if self.static else self._anchors(boxes)
        left_top, right_bottom = self._distances(boxes).chunk(2, 1)
        scores = torch.cat([level.flatten(2) for level in classes], 2).sigmoid()
        if self.end_to_end:
            corners = (points - left_top * stride, points + right_bottom * stride)
            return _top_k(torch.cat(corners, 1).transpose(1, 2), scores.transpose(1, 2), self.limit)
        centre = points + (right_bottom - left_top) * (stride / 2)
        size = (right_bottom + left_top) * stride
        return torch.cat((centre, size, scores), 1)

    def _distances(self, boxes: Sequence[Tensor]) -> Tensor:
        """Left, top, right, bottom in cells, (B, 4, A)."""
        if self.reg_max == 1:
            return torch.cat([level.flatten(2) for level in boxes], 2)
        logits = [level.reshape(level.shape[0], 4, self.reg_max, -1) for level in boxes]
        sums = [self.sums @ torch.exp(z - z.amax(2, keepdim=True)) for z in logits]
        weighted, total = torch.cat(sums, 3).chunk(2, 2)
        return (weighted / total).squeeze(2)

    def _anchors(self, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Anchor centres (2, A) and strides (1, A) in pixels, from the sizes of the maps."""
        points, strides = [], []
        for level, stride in zip(boxes, self.strides, strict=True):
            height, width = level.shape[2:]
            y, x = (torch.arange(height) + 0.5)[:, None], torch.arange(width) + 0.5
            # Adding zeros broadcasts with two operators; `expand` is traced to seven.
            grid = torch.stack((x + 0 * y, y + 0 * x))
            points.append(grid.flatten(1) * stride)
            strides.append(torch.full_like(points[-1][:1], stride))
        return torch.cat(points, 1), torch.cat(strides, 1)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in `dtype`; a cast to its own dtype would still be a node of the traced graph."""
    return x if x.dtype == dtype else x.to(dtype)


def _require_branch(head: Head, branch: Branch) -> None:
    if not (head.has_one2many if branch == "one2many" else head.has_one2one):
        raise UsageError(
            f"the checkpoint's head has no {branch} branch",
            fix="Export it with the decoder "
            + (head.decoder if branch == "one2one" else "one2one")
            + ", which uses the branch that it has",
        )


def _top_k(boxes: Tensor, scores: Tensor, limit: int) -> Tensor:
    """`models.head.top_k` in operators that every ONNX parser has, with a constant K.

    Args:
        boxes: (B, A, 4) corners.
        scores: (B, A, nc).
        limit: K, at most A.

    Returns:
        (B, K, 6): corners, score, class index as float; by descending score.
    """
    classes = scores.shape[2]
    anchor = scores.amax(2).topk(limit).indices.unsqueeze(2)
    boxes = boxes.gather(1, anchor.expand(-1, -1, 4))
    scores = scores.gather(1, anchor.expand(-1, -1, classes))
    best, index = scores.flatten(1).topk(limit)
    row = torch.div(index, classes, rounding_mode="trunc")
    boxes = boxes.gather(1, row.unsqueeze(2).expand(-1, -1, 4))
    label = (index - row * classes).to(best.dtype)
    return torch.cat((boxes, best.unsqueeze(2), label.unsqueeze(2)), 2)
