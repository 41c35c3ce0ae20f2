"""C2f over the Ghost blocks of Huawei, as in the backbone of YOLOv8 forks.

These create new networks; files may also be read by the classes of `fork_hosts`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from ghost_deploy.models.block import Block
from ghost_deploy.models.csp import C2f
from ghost_deploy.models.g_ghost import RegNetBottleneck
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1
from ghost_deploy.models.ghostnet_v2 import GhostBottleneckV2
from ghost_deploy.models.ghostnet_v3 import GhostBottleneckV3


class C2fGhostV1(C2f):
    """A `C2f` whose members are `GhostBottleneckV1` of one width."""

    origin = "fork C2f over Huawei GhostBottleneck V1"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV1,)

    def member(self, shortcut: bool) -> Block:
        return GhostBottleneckV1(self.c, self.c, self.c)


class C2fGhostV2(C2f):
    """A `C2f` whose members are `GhostBottleneckV2` of one width; new ones have no attention."""

    origin = "fork C2f over Huawei GhostBottleneckV2"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV2,)

    def member(self, shortcut: bool) -> Block:
        return GhostBottleneckV2(self.c, self.c, self.c)


class C2fGhostV3(C2f):
    """A `C2f` whose members are `GhostBottleneckV3` of one width; new ones have no attention."""

    origin = "fork C2f over Huawei GhostBottleneck of GhostNetV3"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV3,)

    def member(self, shortcut: bool) -> Block:
        return GhostBottleneckV3(self.c, self.c, self.c)


class C2fGGhost(C2f):
    """A `C2f` whose members are bottlenecks of G-Ghost RegNet, depthwise in new ones."""

    origin = "fork C2f over G-Ghost bottlenecks"
    members: ClassVar[tuple[type[nn.Module], ...]] = (RegNetBottleneck,)

    def member(self, shortcut: bool) -> Block:
        return RegNetBottleneck(self.c, self.c)
