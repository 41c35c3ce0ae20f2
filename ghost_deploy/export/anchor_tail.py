"""The tail of a head with anchors as it is exported: boxes, objectness and class probabilities.

The arithmetic is that of `AnchorDetect.decode`, computed level by level in the memory order of the
convolutions; one transposition a level brings it to the layout of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ghost_deploy.core.spec import ModelSpec


class AnchorTail(nn.Module):
    """Logits of all levels to (B, A, 5 + classes) float32; for `anchors-raw` they stay logits."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        head, size = spec.head, spec.input
        self.raw = head.decoder == "anchors-raw"
        self.strides = head.strides
        self.values = 5 + spec.num_classes
        self.static = size.min_hw == size.max_hw
        for index, level in enumerate(head.anchor_sizes):
            # (2 s)^2 * anchor = s^2 * (4 * anchor)
            sizes = torch.tensor(level, dtype=torch.float32) * 4
            self.register_buffer(f"size_{index}", sizes[None, :, :, None])
            if self.static:
                height, width = (side // head.strides[index] for side in size.size_hw)
                self.register_buffer(f"cell_{index}", _corners(height, width, head.strides[index]))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (B, na * (5 + nc), h, w) of each level, anchor by anchor."""
        return torch.cat([self._level(index, level) for index, level in enumerate(levels)], 1)

    def _level(self, index: int, level: Tensor) -> Tensor:
        sizes = getattr(self, f"size_{index}")
        y = level.reshape(level.shape[0], sizes.shape[1], self.values, -1)
        if not self.raw:
            stride = self.strides[index]
            if self.static:
                cells = getattr(self, f"cell_{index}")
            else:
                cells = _corners(level.shape[2], level.shape[3], stride)
            y = y.sigmoid()
            xy, wh, scores = torch.split(y, [2, 2, self.values - 4], 2)
            y = torch.cat((xy * (2 * stride) + cells, wh * wh * sizes, scores), 2)
        return y.transpose(2, 3).reshape(y.shape[0], -1, self.values)


def _corners(height: int, width: int, stride: int) -> Tensor:
    """(1, 1, 2, h * w): what 2 s * stride is added to, in pixels. The sides may be traced."""
    y, x = torch.arange(height)[:, None] - 0.5, torch.arange(width) - 0.5
    # Adding zeros broadcasts with two operators; `expand` is traced to seven.
    grid = torch.stack((x + 0 * y, y + 0 * x)) * stride
    return grid.flatten(1)[None, None]
