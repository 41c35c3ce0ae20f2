"""The definitions of class names.

A class *name* has one or more definitions, which `build` tries in order and verifies by structure:
different blocks are called GhostConv, and forks move classes between modules. To add a definition,
add a block class and its row in `BLOCKS`.

A definition whose parts leave the arithmetic open has *rivals*: definitions of the same parts that
compute something else (with and without addition, another order of a concatenation, another
activation). To declare one:

1. Write it as a subclass of the definition that it competes with, which overrides `forward` (or a
   method of it) and has an `origin` of its own in plain words. It must not change its children:
   all competing definitions are assembled from the same ones.
2. Where it computes the same as the other for some parts, its `fit` refuses those
   (`super().fit()`, then `require`), so that no choice is left open there.
3. Name it in `RIVALS` beside the definition in `BLOCKS` that it competes with.
4. If the first definition is beyond doubt by class name and parts, as stock Ultralytics classes
   are, name it in `CERTAIN` with those class names. It is then taken without images; every other
   choice is refused without images (`AmbiguousClassError`). With images, the recorded batch norm
   statistics decide in both cases.

Definitions in one row of `BLOCKS` are no rivals: the first that fits is taken. Put the one with
fewer accepted parts first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import nn

from ghost_deploy.models import (
    anchor_head,
    area_attention,
    attention,
    c2f_ghost,
    c3k,
    cbam,
    conv,
    csp,
    elan,
    fork_kinds,
    g_ghost,
    ghost,
    ghost_rivals,
    ghost_v2_forks,
    ghostnet_backbone,
    ghostnet_v1,
    ghostnet_v2,
    ghostnet_v3,
    head,
    hgnet,
    legacy_blocks,
    reparam,
    yolov5_blocks,
)
from ghost_deploy.models.block import Block
from ghost_deploy.models.fork_hosts import FORK_HOSTS, BottleneckHost, C2fHost, C3Host
from ghost_deploy.models.torch_layer import TorchLayer
from ghost_deploy.models.torch_layers import TORCH_LAYERS
from ghost_deploy.models.user_class import UserClass

UserClasses: TypeAlias = Mapping[str, type[nn.Module]]
"""Definitions of the user, given with `--modules`, by class name."""

OWN = "ghost_deploy"
"""Package of the class paths in our own files: `ghost_deploy.GhostConv` denotes exactly one
definition, independent of its module."""

NETWORKS = frozenset({"DetectionModel", "DetectionNet", "Model", "YOLOv10DetectionModel"})
"""Class names of a whole network, the root of the tree."""

# Versions of Huawei's blocks are distinguished by structure: forks use arbitrary names.
_GHOST_MODULES: tuple[type[Block], ...] = (
    ghostnet_v3.GhostModuleV3,
    ghostnet_v2.GhostModuleV2,
    ghost_v2_forks.GhostModuleV2Before,
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
    "AnchorDetect": (anchor_head.AnchorDetect,),
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
    "C3SPP": (yolov5_blocks.C3SPP,),
    "C3k": (c3k.C3k, C3Host),
    "C3k2": (c3k.C3k2, C2fHost),
    "C3x": (csp.C3,),
    "Contract": (yolov5_blocks.Contract,),
    "CrossConv": (csp.Bottleneck,),
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
    "Detect": (head.Detect, anchor_head.AnchorDetect),
    "ELAN1": (elan.ELAN1,),
    "Expand": (yolov5_blocks.Expand,),
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
    "IDetect": (anchor_head.AnchorDetect,),
    "ImplicitA": (anchor_head.ImplicitA,),
    "ImplicitM": (anchor_head.ImplicitM,),
    "LightConv": (hgnet.LightConv,),
    "MP": (yolov5_blocks.PoolLayer,),
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
    "SP": (yolov5_blocks.PoolLayer,),
    "SPP": (legacy_blocks.SPP,),
    "SPPELAN": (elan.SPPELAN,),
    "SPPF": (csp.SPPF,),
    "SpatialAttention": (cbam.SpatialAttention,),
    **dict.fromkeys(("GGhostStage", "GhostStage", "Stage"), (g_ghost.GGhostStage,)),
    "g_ghostBottleneck": (g_ghost.RegNetBottleneck, g_ghost.GGhostStage),
    "v10Detect": (head.Detect,),
}

RIVALS: Mapping[type[Block], tuple[type[Block], ...]] = {
    **fork_kinds.RIVALS,
    ghost.GhostBottleneck: (ghost_rivals.GhostBottleneckNoAddition,),
    ghost.GhostConv: (ghost_rivals.GhostConvExchanged, ghost_rivals.GhostConvReLU),
    ghostnet_v2.GhostConvV2: (ghost_rivals.GhostConvV2NoPool,),
    ghostnet_v2.GhostModuleV2: (
        ghost_rivals.GhostModuleV2NoPool,
        ghost_v2_forks.GhostModuleV2MaxPool,
    ),
    ghost_v2_forks.GhostModuleV2Before: (
        ghost_v2_forks.GhostModuleV2BeforeNoPool,
        ghost_v2_forks.GhostModuleV2Beside,
        ghost_v2_forks.GhostModuleV2BesideNoPool,
    ),
}
"""Definitions that compute something else from the same parts; see above."""

CERTAIN: Mapping[type[Block], frozenset[str]] = {
    **fork_kinds.CERTAIN,
    ghost.GhostBottleneck: frozenset({"GhostBottleneck"}),
    ghost.GhostConv: frozenset({"GhostConv"}),
}
"""Class names under which a definition with rivals is taken without images."""

_EXACT = {
    block.__name__: block
    for blocks in (*BLOCKS.values(), *RIVALS.values(), *fork_kinds.BY_PATTERN.values())
    for block in blocks
}

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
    named = BLOCKS.get(name, ())
    return (*named, *(block for block in fork_kinds.of_kind(name) if block not in named))


def rivals(class_path: str, definition: Definition) -> tuple[type[Block], ...]:
    """Return the definitions that compete with one that fits modules of a class path.

    A class path of our own files denotes one definition and has none.
    """
    own = class_path.rpartition(".")[0] == OWN
    return () if own or not isinstance(definition, type) else RIVALS.get(definition, ())


def is_certain(class_path: str, definition: Definition) -> bool:
    """Whether a definition with rivals is taken for a class path without images."""
    names = CERTAIN.get(definition, frozenset()) if isinstance(definition, type) else frozenset()
    return class_path.rpartition(".")[2] in names
