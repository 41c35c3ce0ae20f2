"""CSP hosts of forks with Ghost blocks as members.

Forks name a host after its member, e.g. C2f_GhostBottleneckV2, and derive it from C2f, C3k2 or C3
with `m` replaced. The arithmetic is the parent's; which members there are, the file says.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from ghost_deploy.models.block import Block
from ghost_deploy.models.csp import C3, C2f
from ghost_deploy.models.g_ghost import GGhostStage, RegNetBottleneck
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.ghostnet_v1 import GhostBottleneckV1, GhostModule
from ghost_deploy.models.ghostnet_v2 import (
    GhostBottleneckV2,
    GhostConvBottleneckV2,
    GhostConvV2,
)
from ghost_deploy.models.ghostnet_v3 import GhostBottleneckV3, GhostModuleV3

__all__ = [
    "C2fGGhost",
    "C2fGhostV1",
    "C2fGhostV2",
    "C2fGhostV3",
    "C2fOfGhosts",
    "C3OfGhosts",
    "GhostMembers",
]

GhostMembers: tuple[type[nn.Module], ...] = (
    GGhostStage,
    GhostBottleneck,
    GhostBottleneckV1,
    GhostBottleneckV3,
    GhostConv,
    GhostConvBottleneckV2,
    GhostConvV2,
    GhostModule,
    GhostModuleV3,
    RegNetBottleneck,
)


class C3OfGhosts(C3):
    """A `C3`, or C3k, whose members are Ghost blocks of any kind."""

    origin = "fork C3 over Ghost blocks"
    members: ClassVar[tuple[type[nn.Module], ...]] = GhostMembers

    def member(self, hidden: int, shortcut: bool, g: int) -> Block:
        return GhostModule(hidden, hidden)


class C2fOfGhosts(C2f):
    """A `C2f`, or C3k2, whose members are Ghost blocks of any kind, or a C3 of those."""

    origin = "fork C2f over Ghost blocks"
    members: ClassVar[tuple[type[nn.Module], ...]] = (*GhostMembers, C3OfGhosts)

    def member(self, shortcut: bool, g: int) -> Block:
        return GhostModule(self.c, self.c)


class C2fGhostV1(C2fOfGhosts):
    """A `C2f` whose members are `GhostBottleneckV1` of one width."""

    origin = "fork C2f over Huawei GhostBottleneck V1"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV1,)

    def member(self, shortcut: bool, g: int) -> Block:
        return GhostBottleneckV1(self.c, self.c, self.c)


class C2fGhostV2(C2fOfGhosts):
    """A `C2f` whose members are `GhostBottleneckV2` of one width; new ones have no attention."""

    origin = "fork C2f over Huawei GhostBottleneckV2"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV2,)

    def member(self, shortcut: bool, g: int) -> Block:
        return GhostBottleneckV2(self.c, self.c, self.c)


class C2fGhostV3(C2fOfGhosts):
    """A `C2f` whose members are `GhostBottleneckV3` of one width."""

    origin = "fork C2f over Huawei GhostBottleneck of GhostNetV3"
    members: ClassVar[tuple[type[nn.Module], ...]] = (GhostBottleneckV3,)

    def member(self, shortcut: bool, g: int) -> Block:
        return GhostBottleneckV3(self.c, self.c, self.c)


class C2fGGhost(C2fOfGhosts):
    """A `C2f` whose members are the bottlenecks of G-Ghost RegNet, depthwise in new ones."""

    origin = "fork C2f over G-Ghost bottlenecks"
    members: ClassVar[tuple[type[nn.Module], ...]] = (RegNetBottleneck, GGhostStage)

    def member(self, shortcut: bool, g: int) -> Block:
        return RegNetBottleneck(self.c, self.c)
