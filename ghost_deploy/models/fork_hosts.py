"""Hosts of forks: the arithmetic of C2f, C3 or Bottleneck around members of another kind.

Forks derive a class from a stock host, put Ghost modules in and give it one of many names. Such
a name stands for a host when the parts are exactly those of the stock host; what the members
compute is decided by their own classes. `FORK_HOSTS` is the table of the names. A name that is
not in it is refused even where the parts would fit: parts do not tell the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import ClassVar

from torch import nn

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.csp import C3, Bottleneck, C2f
from ghost_deploy.models.fields import Channels
from ghost_deploy.models.ghost import C2fGhost, C3Ghost, GhostConv
from ghost_deploy.models.reparam import RepConv

__all__ = ["FORK_HOSTS", "BottleneckHost", "C2fHost", "C3Host"]


class C2fHost(C2f):
    """A `C2f` over any members that keep the width; cv1 and cv2 may be Ghost convolutions.

    Files that lack `c` halve the output of cv1, which is the same.
    """

    origin = "fork host: C2f over other members"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Block, nn.Sequential)
    cv1: Conv | GhostConv  # type: ignore[assignment] # both have in_channels and out_channels
    cv2: Conv | GhostConv  # type: ignore[assignment]
    c: Channels = 0

    def fit(self) -> None:
        self.c = self.c or self.cv1.out_channels // 2
        super().fit()


class C3Host(C3):
    """A `C3` over any members that keep the width; its convolutions may be Ghost convolutions."""

    origin = "fork host: C3 over other members"
    members: ClassVar[tuple[type[nn.Module], ...]] = (Block, nn.Sequential)
    cv1: Conv | GhostConv  # type: ignore[assignment] # both have in_channels and out_channels
    cv2: Conv | GhostConv  # type: ignore[assignment]
    cv3: Conv | GhostConv  # type: ignore[assignment]

    def fit(self) -> None:
        super().fit()
        joined = self.cv1.out_channels + self.cv2.out_channels
        require(self.cv3.in_channels == joined, f"cv3 must take both paths, {joined} channels")


class BottleneckHost(Bottleneck):
    """A `Bottleneck` of which one or both convolutions are of another kind."""

    origin = "fork host: Bottleneck over other convolutions"
    cv1: Conv | GhostConv | RepConv  # type: ignore[assignment] # all have the widths asked for
    cv2: Conv | GhostConv | RepConv  # type: ignore[assignment]


_PREFIXES: Mapping[str, tuple[type[Block], ...]] = {
    "C2f": (C2fGhost, C2fHost),
    "C3": (C3Ghost, C3Host),
    "C3k": (C3Ghost, C3Host),
    "C3k2": (C2fGhost, C2fHost, C3Ghost, C3Host),
}
_MEMBERS = (
    "Ghost",
    "GhostBottleneck",
    "GhostBottleneckV1",
    "GhostBottleneckV2",
    "GhostBottleneckV3",
    "GhostConv",
    "GhostModule",
    "GhostModuleV1",
    "GhostModuleV2",
    "GhostModuleV3",
    "GhostNet",
    "GhostNetV2",
    "GhostNetV3",
    "GhostV1",
    "GhostV2",
    "GhostV3",
    "g_ghostBottleneck",
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
"""Names of well-known fork hosts, e.g. `C2f_Ghost` or `C3k2GhostV2`, and what to try for them."""
