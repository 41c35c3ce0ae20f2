"""Small Ghost networks with a head with anchors, and what that head means, in NumPy float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ghost_deploy.checkpoints.loading import default_thresholds, head_spec
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.conv import Concat, Conv
from ghost_deploy.models.csp import SPPF
from ghost_deploy.models.ghost import C3Ghost, GhostConv
from ghost_deploy.models.legacy_blocks import Focus
from ghost_deploy.models.network import DetectionNet, LayerInput
from tests.support.trained_like_weights import condition

SIZE_HW = (96, 160)
TWO_ANCHORS = ((6.0, 9.5, 20.0, 12.25), (33.0, 41.0, 80.0, 62.0), (100.0, 90.0, 150.0, 155.0))
FOUR_LEVELS = (
    (19.0, 27.0, 44.0, 40.0, 38.0, 94.0),
    (96.0, 68.0, 86.0, 152.0, 180.0, 137.0),
    (140.0, 301.0, 303.0, 264.0, 238.0, 542.0),
    (436.0, 615.0, 739.0, 380.0, 925.0, 792.0),
)


def anchor_net(
    nc: int = 3, anchors: Sequence[Sequence[float]] = TWO_ANCHORS, *, focus: bool = False
) -> DetectionNet:
    """A backbone of Ghost layers with one level for each entry of `anchors`, from stride 8 on."""
    torch.manual_seed(3)
    widths = (16, 24, 32, 40)[: len(anchors)]
    stem: nn.Module = Focus(3, 8, 3) if focus else Conv(3, 8, 6, 2, 2)
    layers: list[tuple[nn.Module, tuple[int, ...]]] = [
        (stem, (-1,)),
        (GhostConv(8, 12, 3, 2), (0,)),
        (GhostConv(12, 16, 3, 2), (1,)),
        (C3Ghost(16, 16), (2,)),
    ]
    levels = [3]
    for before, width in pairwise(widths):
        at = len(layers)
        layers += [(GhostConv(before, width, 3, 2), (at - 1,)), (C3Ghost(width, width), (at,))]
        levels.append(at + 1)
    layers += [
        (SPPF(widths[-1], widths[-1]), (levels[-1],)),
        (nn.Upsample(scale_factor=2.0, mode="nearest"), (len(layers),)),
        (Concat(), (len(layers) + 1, levels[-2])),
        (C3Ghost(sum(widths[-2:]), widths[-2]), (len(layers) + 2,)),
    ]
    levels[-2] = len(layers) - 1
    strides = tuple(8 << level for level in range(len(anchors)))
    head = AnchorDetect(nc, widths, anchors, strides)
    layers.append((head, tuple(levels)))
    inputs = [LayerInput(sources, many=len(sources) > 1) for _, sources in layers]
    net = DetectionNet([layer for layer, _ in layers], inputs)
    net.check()
    return condition(net)


def anchor_spec(net: DetectionNet, size_hw: tuple[int, int] = SIZE_HW, **changes: Any) -> ModelSpec:
    """What `net` is exported as; `changes` are fields of the spec."""
    head = head_spec(net)
    values: dict[str, Any] = {
        "name": "anchors",
        "family": "yolov5-ghost",
        "class_names": tuple("abcdefgh"[: net.nc]),
        "input": InputSpec(size_hw=size_hw, stride=max(32, *net.strides)),
        "head": head,
        "thresholds": default_thresholds(head),
        "source_sha256": "ab" * 32,
    }
    return ModelSpec(**{**values, **changes})


def decode_in_float64(raw: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]) -> Any:
    """(A, 5 + classes) of `anchors-raw` to that of `anchors`, anchor by anchor."""
    rows, index = [], 0
    for stride, level in zip(spec.head.strides, spec.head.anchor_sizes, strict=True):
        for width, height in level:
            for row in range(size_hw[0] // stride):
                for column in range(size_hw[1] // stride):
                    p = 1 / (1 + np.exp(-np.float64(raw[index])))
                    x, y = (2 * p[:2] - 0.5 + (column, row)) * stride
                    rows.append([x, y, 4 * p[2] ** 2 * width, 4 * p[3] ** 2 * height, *p[4:]])
                    index += 1
    assert index == len(raw) == spec.head.anchors(size_hw)
    return np.array(rows)
