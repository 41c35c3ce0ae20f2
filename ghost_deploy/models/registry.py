"""Which definitions may stand for a class path.

A class *name* has one or more definitions, tried in order: three different things are called
GhostConv, and forks move classes between modules. What a path means is decided by structure, in
`build`. Adding a definition is a block class and a row in `BLOCKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import nn

from ghost_deploy.models import conv, csp, ghost, head
from ghost_deploy.models.block import Block
from ghost_deploy.models.leaves import LEAVES, Leaf
from ghost_deploy.models.user import UserClass

__all__ = ["BLOCKS", "NETWORKS", "OWN", "Definition", "UserModules", "candidates"]

UserModules: TypeAlias = Mapping[str, type[nn.Module]]
"""Definitions brought by the user with `--modules`, by class name."""

OWN = "ghost_deploy"
"""Package part of the class paths in our own files: `ghost_deploy.GhostConv` names exactly one
definition, whatever module it lives in."""

NETWORKS = frozenset({"DetectionModel", "DetectionNet", "YOLOv10DetectionModel"})
"""Class names of a whole network, the root of the tree."""

BLOCKS: Mapping[str, tuple[type[Block], ...]] = {
    "Bottleneck": (csp.Bottleneck,),
    "C2f": (csp.C2f,),
    "C2fGhost": (ghost.C2fGhost,),
    "C3": (csp.C3,),
    "C3Ghost": (ghost.C3Ghost,),
    "Concat": (conv.Concat,),
    "Conv": (conv.Conv,),
    "DFL": (head.DFL,),
    "DWConv": (conv.DWConv,),
    "Detect": (head.Detect,),
    "GhostBottleneck": (ghost.GhostBottleneck,),
    "GhostConv": (ghost.GhostConv,),
    "SPPF": (csp.SPPF,),
    "v10Detect": (head.Detect,),
}

_EXACT = {block.__name__: block for row in BLOCKS.values() for block in row}

Definition: TypeAlias = "type[Block] | Leaf | UserClass"


def candidates(class_path: str, extra: UserModules) -> tuple[Definition, ...]:
    """The definitions to try for a class path, in order; empty when the class is unknown."""
    package, _, name = class_path.rpartition(".")
    if package == "torch.nn" or package.startswith("torch.nn."):
        leaf = LEAVES.get(name)
        return (leaf,) if leaf is not None else ()
    if package == OWN:
        return (_EXACT[name],) if name in _EXACT else ()
    if name in extra:
        return (UserClass(extra[name]),)
    return BLOCKS.get(name, ())
