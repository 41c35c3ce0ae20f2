"""C2f, C3 and Bottleneck of forks, with members of other classes.

Forks derive a class from one of these host blocks, insert Ghost modules and give it one of many
names. `FORK_HOSTS` maps known names to host blocks; the parts must be exactly those of the host
block, and the members are defined by their own classes. Other names are refused even if the parts
match: equal parts may be computed in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import ClassVar

from torch import nn

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import ConvLike
from ghost_deploy.models.csp import C3, Bottleneck, C2f
from ghost_deploy.models.fields import Channels
from ghost_deploy.models.ghost import C2fGhost, C3Ghost


class C2fHost(C2f):
    """A `C2f` over any members that keep the width; cv1 and cv2 may be Ghost convolutions.

    In files without `c` it is half of the output of cv1.
    """

    origin = "fork host: C2f over other members"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Block, nn.Sequential)
    cv1: ConvLike  # type: ignore[assignment] # the parts of a Conv that are used
    cv2: ConvLike  # type: ignore[assignment]
    c: Channels = 0

    def fit(self) -> None:
        self.c = self.c or self.cv1.out_channels // 2
        super().fit()


class C3Host(C3):
    """A `C3` over any members that keep the width; its convolutions may be Ghost convolutions."""

    origin = "fork host: C3 over other members"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Block, nn.Sequential)
    cv1: ConvLike  # type: ignore[assignment] # the parts of a Conv that are used
    cv2: ConvLike  # type: ignore[assignment]
    cv3: ConvLike  # type: ignore[assignment]

    def fit(self) -> None:
        super().fit()
        joined = self.cv1.out_channels + self.cv2.out_channels
        require(self.cv3.in_channels == joined, f"cv3 must take both paths, {joined} channels")


class BottleneckHost(Bottleneck):
    """A `Bottleneck` whose convolutions may be of other classes."""

    origin = "fork host: Bottleneck over other convolutions"
    cv1: ConvLike  # type: ignore[assignment] # the parts of a Conv that are used
    cv2: ConvLike  # type: ignore[assignment]


_PREFIXES: Mapping[str, tuple[type[Block], ...]] = {
    "C2f": (C2fGhost, C2fHost),
    "C3": (C3Ghost, C3Host),
    "C3k": (C3Ghost, C3Host),
    "C3k2": (C2fGhost, C2fHost, C3Ghost, C3Host),
}
_MEMBERS = (
    *map("".join, product(("Ghost", "GhostBottleneck", "GhostModule"), ("", "V1", "V2", "V3"))),
    *("GhostConv", "GhostNet", "GhostNetV2", "GhostNetV3", "g_ghostBottleneck"),
)
_BOTTLENECKS = (
    "Bottleneck_Ghost",
    "Bottleneck_GhostConv",
    "BottleneckGhost",
    "GhostBottleneckC2f",
    "Ghost_Bottleneck",
)

FORK_HOSTS: Mapping[str, tuple[type[Block], ...]] = {
    **{
        f"{host}{joint}{member}": definitions
        for (host, definitions), joint, member in product(_PREFIXES.items(), ("", "_"), _MEMBERS)
    },
    **dict.fromkeys(_BOTTLENECKS, (Bottleneck, BottleneckHost)),
}
"""Definitions to try for known names in forks, e.g. `C2f_Ghost` or `C3k2GhostV2`."""
