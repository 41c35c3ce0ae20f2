"""The definitions of class names.

A class *name* has one or more definitions, which `build` tries in order and verifies by structure:
different blocks are called GhostConv, and forks move classes between modules. To add a definition,
add a block class and its row in `BLOCKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import nn

from ghost_deploy.models import (
    area_attention,
    attention,
    c2f_ghost,
    c3k,
    cbam,
    conv,
    csp,
    elan,
    g_ghost,
    ghost,
    ghostnet_backbone,
    ghostnet_v1,
    ghostnet_v2,
    ghostnet_v3,
    head,
    hgnet,
    legacy_blocks,
    reparam,
)
from ghost_deploy.models.block import Block
from ghost_deploy.models.fork_hosts import FORK_HOSTS, BottleneckHost, C2fHost, C3Host
from ghost_deploy.models.torch_layers import TORCH_LAYERS, TorchLayer
from ghost_deploy.models.user_class import UserClass

UserClasses: TypeAlias = Mapping[str, type[nn.Module]]
"""Definitions of the user, given with `--modules`, by class name."""

OWN = "ghost_deploy"
"""Package of the class paths in our own files: `ghost_deploy.GhostConv` denotes exactly one
definition, independent of its module."""

NETWORKS = frozenset({"DetectionModel", "DetectionNet", "YOLOv10DetectionModel"})
"""Class names of a whole network, the root of the tree."""

# Versions of Huawei's blocks are distinguished by structure: forks use arbitrary names.
_GHOST_MODULES: tuple[type[Block], ...] = (
    ghostnet_v3.GhostModuleV3,
    ghostnet_v2.GhostModuleV2,
    ghostnet_v1.GhostModule,
)
_GHOST_MODULE_NAMES = ("GhostModule", "GhostModuleV1", "GhostModuleV2", "GhostModuleV3")
_GHOST_BOTTLENECKS: tuple[type[Block], ...] = (
    ghostnet_v3.GhostBottleneckV3,
    ghostnet_v2.GhostBottleneckV2,
    ghostnet_v1.GhostBottleneckV1,
    ghostnet_v2.GhostConvBottleneckV2,
)
_GHOST_BOTTLENECK_NAMES = (
    "GBneck",
    "G_bneck",
    "GhostBottleneckV1",
    "GhostBottleneckV2",
    "GhostBottleneckV3",
    "Ghostblockv2",
)
_GHOST_NETS: tuple[type[Block], ...] = (
    ghostnet_backbone.GhostNetV3,
    ghostnet_backbone.GhostNetV2,
    ghostnet_backbone.GhostNetV1,
)

BLOCKS: Mapping[str, tuple[type[Block], ...]] = {
    **FORK_HOSTS,
    "A2C2f": (area_attention.A2C2f,),
    "AAttn": (area_attention.AAttn,),
    "ABlock": (area_attention.ABlock,),
    "AConv": (elan.AConv,),
    "ADown": (elan.ADown,),
    "Attention": (attention.Attention,),
    "Bottleneck": (csp.Bottleneck, BottleneckHost, g_ghost.RegNetBottleneck),
    "BottleneckCSP": (legacy_blocks.BottleneckCSP,),
    "C1": (legacy_blocks.C1,),
    "C2": (csp.C2,),
    "C2PSA": (attention.C2PSA,),
    "C2f": (csp.C2f, C2fHost),
    "C2fCIB": (c3k.C2fCIB,),
    "C2fGhost": (ghost.C2fGhost, C2fHost),
    "C2fGGhost": (c2f_ghost.C2fGGhost, C2fHost),
    "C2fGhostV1": (c2f_ghost.C2fGhostV1, C2fHost),
    "C2fGhostV2": (c2f_ghost.C2fGhostV2, C2fHost),
    "C2fGhostV3": (c2f_ghost.C2fGhostV3, C2fHost),
    "C2fPSA": (attention.C2fPSA,),
    "C3": (csp.C3, C3Host),
    "C3Ghost": (ghost.C3Ghost, C3Host),
    "C3k": (c3k.C3k, C3Host),
    "C3k2": (c3k.C3k2, C2fHost),
    "C3x": (csp.C3,),
    "CBAM": (cbam.CBAM,),
    "CIB": (c3k.CIB,),
    "ChannelAttention": (cbam.ChannelAttention,),
    "Concat": (conv.Concat,),
    "Conv": (conv.Conv,),
    "Conv2": (reparam.Conv2,),
    "ConvBnAct": (ghostnet_backbone.ConvBnAct,),
    "ConvTranspose": (conv.ConvTranspose,),
    "DFL": (head.DFL,),
    "DWConv": (conv.DWConv,),
    "Detect": (head.Detect,),
    "ELAN1": (elan.ELAN1,),
    "Focus": (legacy_blocks.Focus,),
    "GhostBottleneck": (ghost.GhostBottleneck, *_GHOST_BOTTLENECKS, BottleneckHost),
    **dict.fromkeys(_GHOST_BOTTLENECK_NAMES, _GHOST_BOTTLENECKS),
    "GhostConv": (ghost.GhostConv,),
    "GhostConvV2": (ghostnet_v2.GhostConvV2,),
    **dict.fromkeys(_GHOST_MODULE_NAMES, _GHOST_MODULES),
    "GhostNet": _GHOST_NETS,
    **{net.__name__: (net, *_GHOST_NETS) for net in _GHOST_NETS},
    "HGBlock": (hgnet.HGBlock,),
    "HGStem": (hgnet.HGStem,),
    "LightConv": (hgnet.LightConv,),
    "PSA": (attention.PSA,),
    "PSABlock": (attention.PSABlock,),
    "RepBottleneck": (reparam.RepBottleneck,),
    "RepCSP": (reparam.RepCSP,),
    "RepConv": (reparam.RepConv,),
    "RepNCSPELAN4": (elan.RepNCSPELAN4,),
    "RepVGGDW": (reparam.RepVGGDW,),
    "SCDown": (c3k.SCDown,),
    **dict.fromkeys(
        ("SqueezeExcite", "SqueezeExcitation", "SE"),
        (ghostnet_v1.SqueezeExcite, ghostnet_v1.SqueezeExciteGated),
    ),
    "SPP": (legacy_blocks.SPP,),
    "SPPELAN": (elan.SPPELAN,),
    "SPPF": (csp.SPPF,),
    "SpatialAttention": (cbam.SpatialAttention,),
    **dict.fromkeys(("GGhostStage", "GhostStage", "Stage"), (g_ghost.GGhostStage,)),
    "g_ghostBottleneck": (g_ghost.RegNetBottleneck, g_ghost.GGhostStage),
    "v10Detect": (head.Detect,),
}

_EXACT = {block.__name__: block for row in BLOCKS.values() for block in row}

Definition: TypeAlias = "type[Block] | TorchLayer | UserClass"


def candidates(class_path: str, extra: UserClasses) -> tuple[Definition, ...]:
    """Return the definitions to try for a class path, in order; none for an unknown class.

    Args:
        class_path: `module.Class` as named in the checkpoint.
        extra: classes of the user, by class name.
    """
    package, _, name = class_path.rpartition(".")
    if package == "torch.nn" or package.startswith("torch.nn."):
        leaf = TORCH_LAYERS.get(name)
        return (leaf,) if leaf is not None else ()
    if package == OWN:
        return (_EXACT[name],) if name in _EXACT else ()
    if name in extra:
        return (UserClass(extra[name]),)
    return BLOCKS.get(name, ())
