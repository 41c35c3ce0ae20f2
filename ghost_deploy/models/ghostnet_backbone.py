"""A whole GhostNet as the first layer of a detector, with a feature map per stride.

Forks add it with a changed `parse_model`: the layer records `backbone` and has the places 0 to 4 of
the network; the maps of strides 4, 8, 16 and 32 have the places 1 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from ghost_deploy.models.block import Block, expect_each, require
from ghost_deploy.models.fields import MAX_CHANNELS, MisfitError, integer, one_of
from ghost_deploy.models.ghost_parts import divisible_by_4, raw_pair
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1
from ghost_deploy.models.ghostnet_v2 import GhostBottleneckV2
from ghost_deploy.models.ghostnet_v3 import GhostBottleneckV3

MOST_MAPS = 5

STAGES: Sequence[Sequence[tuple[int, int, int, float, int]]] = (
    ((3, 16, 16, 0, 1),),
    ((3, 48, 24, 0, 2),),
    ((3, 72, 24, 0, 1),),
    ((5, 72, 40, 0.25, 2),),
    ((5, 120, 40, 0.25, 1),),
    ((3, 240, 80, 0, 2),),
    (
        (3, 200, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 480, 112, 0.25, 1),
        (3, 672, 112, 0.25, 1),
    ),
    ((5, 672, 160, 0.25, 2),),
    ((5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1), (5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1)),
)
"""Kernel, expansion, width, squeeze ratio and stride of the bottlenecks, by stage: table 1 of
arXiv:1911.11907, equal in all three versions, without the last stage of the classifier."""


def widths_of(value: object) -> tuple[int, ...]:
    """Check the recorded widths of the maps of a backbone."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_MAPS:
        raise MisfitError(f"{value!r:.60} is not a list of 1 to {MOST_MAPS} widths")
    check = integer(1, MAX_CHANNELS)
    return tuple(check(item) for item in value)


class ConvBnAct(Block):
    """y = act1(bn1(conv(x))), the last stage of a GhostNet before its classifier."""

    origin = "Huawei ConvBnAct"
    folds = (("conv", "bn1"),)
    conv: nn.Conv2d
    bn1: nn.BatchNorm2d | nn.Identity
    act1: nn.ReLU

    def __init__(self, in_chs: int, out_chs: int) -> None:
        super().__init__()
        self.conv, self.bn1 = raw_pair(in_chs, out_chs, 1)
        self.act1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act1(self.bn1(self.conv(x)))
        return y


class GhostNetBackbone(Block):
    """act1(bn1(conv_stem(x))), then `blocks`; returns the last map of each of the deepest strides.

    Their number and widths are recorded in `width_list`; the widths are checked. The classifier,
    if the file has it, is not run.
    """

    folds = (("conv_stem", "bn1"),)
    harmless = frozenset({"cfgs", "dropout"})
    bottleneck: ClassVar[type[nn.Module]]
    conv_stem: nn.Conv2d
    bn1: nn.BatchNorm2d | nn.Identity
    act1: nn.ReLU
    blocks: nn.Sequential
    global_pool: nn.AdaptiveAvgPool2d | None
    conv_head: nn.Conv2d | None
    act2: nn.ReLU | None
    classifier: nn.Linear | None
    width_list: Annotated[tuple[int, ...], widths_of]
    backbone: Annotated[Any, one_of(True)]

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem = divisible_by_4(16 * width)
        self.conv_stem, self.bn1 = raw_pair(3, stem, 3, 2)
        self.act1 = nn.ReLU(inplace=True)
        stages, before, position = [], stem, 0
        for stage in STAGES:
            members = []
            for kernel, middle, out, squeeze, stride in stage:
                wide, after = divisible_by_4(middle * width), divisible_by_4(out * width)
                members.append(
                    self.bottleneck(before, wide, after, kernel, stride, squeeze, position)
                )
                before, position = after, position + 1
            stages.append(nn.Sequential(*members))
        self.blocks = nn.Sequential(*stages)
        self.global_pool = self.conv_head = self.act2 = self.classifier = None
        self.width_list = tuple(divisible_by_4(width * each) for each in (24, 40, 112, 160))
        self.backbone = True

    @property
    def steps(self) -> list[nn.Module]:
        """The bottlenecks and following layers, in order."""
        return [step for stage in self.blocks.children() for step in stage.children()]

    @property
    def last_steps(self) -> list[int]:
        """Indices of the steps that return a map: the last of each stride."""
        steps = self.steps
        starts = [index for index, step in enumerate(steps) if getattr(step, "stride", 1) == 2]
        return [index - 1 for index in (*starts, len(steps))][-len(self.width_list) :]

    def fit(self) -> None:
        expect_each(self.blocks, nn.Sequential)
        for stage in self.blocks:
            expect_each(stage, self.bottleneck, ConvBnAct)
        ends = self.last_steps
        found = len(ends) == len(self.width_list) and ends[0] >= 0
        require(found, f"there are fewer than {len(self.width_list)} strides")
        widths = tuple(_width(self.steps[index]) for index in ends)
        require(
            widths == self.width_list,
            f"the last maps of each stride have the widths {widths}, recorded are "
            f"{self.width_list}: this backbone returns other maps",
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.act1(self.bn1(self.conv_stem(x)))
        ends, maps = self.last_steps, []
        for index, step in enumerate(self.steps):
            x = step(x)
            if index in ends:
                maps.append(x)
        return maps


class GhostNetV1(GhostNetBackbone):
    """The backbone of GhostNet V1 (arXiv:1911.11907)."""

    origin = "Huawei GhostNet"
    bottleneck: ClassVar[type[nn.Module]] = GhostBottleneckV1


class GhostNetV2(GhostNetBackbone):
    """The backbone of GhostNetV2 (arXiv:2211.12905)."""

    origin = "Huawei GhostNetV2"
    bottleneck: ClassVar[type[nn.Module]] = GhostBottleneckV2


class GhostNetV3(GhostNetBackbone):
    """The backbone of GhostNetV3 (arXiv:2404.11202)."""

    origin = "Huawei GhostNetV3"
    bottleneck: ClassVar[type[nn.Module]] = GhostBottleneckV3


def _width(step: nn.Module) -> int:
    if isinstance(step, ConvBnAct):
        return step.conv.out_channels
    assert isinstance(step, GhostBottleneckV1)
    return step.ghost2.oup
