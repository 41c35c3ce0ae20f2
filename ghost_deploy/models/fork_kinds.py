"""Kinds of classes in forks: patterns of class names, and the definitions to try for them.

Forks give a class of a known kind any name: `GhostConvECA`, `C3k2_GhostV3`, `SELayer`. A pattern
says which kind a name promises; the structure decides as for other names. `RIVALS` and `CERTAIN`
are those of `registry`, for the definitions of forks alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ghost_deploy.models import (
    activations,
    cbam,
    cell_gates,
    conv,
    csp,
    feature_gate,
    fork_hosts,
    gated_hosts,
    ghost,
    ghost_v2_forks,
    ghostnet_v1,
    ghostnet_v2,
    head,
    hgnet,
    rep_sum,
    shared_head,
    slim_neck,
    weighted_fusion,
)
from ghost_deploy.models import free_bottleneck as necks
from ghost_deploy.models import free_ghost as ghosts
from ghost_deploy.models.block import Block

_GATES: tuple[type[Block], ...] = (
    feature_gate.ChannelConvGate,
    feature_gate.ChannelExcitation,
    cell_gates.CoordGate,
    cell_gates.CrossSpatialGate,
    cbam.CBAM,
    cbam.PooledChannelGate,
)
_NECKS: tuple[type[Block], ...] = (
    necks.ShortcutBottleneck,
    necks.FlaggedBottleneck,
    necks.FreeBottleneck,
    necks.FreeBottleneckNoAddition,
)
_C2F: tuple[type[Block], ...] = (
    fork_hosts.C2fHost,
    gated_hosts.C2fGateLast,
    gated_hosts.C2fTwoPaths,
    gated_hosts.C2fAfter,
)
_C3: tuple[type[Block], ...] = (
    fork_hosts.C3Host,
    gated_hosts.C3GateLast,
    gated_hosts.C3After,
)
_GHOST_CONVS: tuple[type[Block], ...] = (
    ghost.GhostConv,
    ghostnet_v2.GhostConvV2,
    ghostnet_v2.GhostModuleV2,
    ghost_v2_forks.GhostModuleV2Before,
    ghostnet_v1.GhostModule,
    ghosts.FreeGhostConv,
    ghosts.FreeGhostGatePrimary,
    ghosts.FreeGhostGateInput,
)

BY_PATTERN: Mapping[str, tuple[type[Block], ...]] = {
    r"(h|hard)_?sig(moid)?": (activations.HSigmoid,),
    r"(h|hard)_?swish\w*": (activations.HSwish,),
    r"swish|silu|memoryefficientswish": (activations.Swish,),
    r"mish|memoryefficientmish": (activations.MishFunction,),
    r"\w*sim_?am\w*": (cell_gates.EnergyGate,),
    r"scale": (shared_head.LearnedFactor,),
    r"(conv_?gn|gn_?conv)\w*": (shared_head.GroupNormConv,),
    r"\w*detect\w*": (head.Detect, shared_head.SharedDetect),
    r"gsconvns": (slim_neck.GSConvNormative,),
    r"gsconv\w*": (slim_neck.GSConv,),
    r"gsbottleneck\w*": (slim_neck.GSBottleneck,),
    r"vov_?gscsp\w*": (slim_neck.VoVGSCSP,),
    r"\w*(bifpn|fusion|weighted)\w*(add|sum)\w*": (weighted_fusion.WeightedSum,),
    r"\w*(bifpn|fusion|weighted)\w*": (weighted_fusion.WeightedConcat, weighted_fusion.WeightedSum),
    r"\w*hg_?block\w*": (hgnet.HGBlock, hgnet.HGBlockHost),
    r"\w*c2f\w*": _C2F,
    r"\w*c3k2\w*": (*_C2F, *_C3),
    r"\w*c3\w*": _C3,
    r"\w*bottle_?neck\w*|\w*ghost\w*(neck|block)\w*": (csp.Bottleneck, *_NECKS),
    r"\w*ghost\w*": (*_GHOST_CONVS, *_NECKS),
    r"(\w*_)?rep\w*": (rep_sum.RepSum,),
    r"\w*att\w*|\w*eca\w*|\w*se(_?(layer|block|module|net))?|squeeze\w*|ca(_?\w*)?|ema\w*"
    r"|\w*cbam\w*": _GATES,
    r"(dw|pw|depthwise|pointwise|base)_?conv|conv_?(bn|norm)\w*|cb[rsl]": (conv.Conv,),
}
"""By a pattern of the whole class name, in any case; the first that matches applies."""

RIVALS: Mapping[type[Block], tuple[type[Block], ...]] = {
    ghosts.FreeGhostConv: (
        ghosts.FreeGhostExchanged,
        ghosts.FreeGhostActEach,
        ghosts.FreeGhostGatePrimary,
        ghosts.FreeGhostGateBeside,
        ghosts.FreeGhostGateCheap,
        ghosts.FreeGhostGateInput,
    ),
    ghosts.FreeGhostGatePrimary: (
        ghosts.FreeGhostGateBeside,
        ghosts.FreeGhostGateCheap,
        ghosts.FreeGhostGateInput,
    ),
    necks.ShortcutBottleneck: (necks.FreeBottleneckNoAddition,),
    necks.FlaggedBottleneck: (necks.FreeBottleneckActBody, necks.FreeBottleneckActUnused),
    necks.FreeBottleneckNoAddition: (necks.NoAdditionActUnused, necks.UnflaggedBottleneck),
    necks.FreeBottleneck: (
        necks.FreeBottleneckNoAddition,
        necks.FreeBottleneckActBody,
        necks.FreeBottleneckActUnused,
        necks.NoAdditionActUnused,
        necks.FreeBottleneckGateLast,
        necks.FreeBottleneckGateFirst,
    ),
    gated_hosts.C3GateLast: (
        gated_hosts.C3GateJoined,
        gated_hosts.C3GateDeep,
        gated_hosts.C3GateInput,
    ),
    gated_hosts.C2fGateLast: (gated_hosts.C2fGateJoined, gated_hosts.C2fGateInput),
    weighted_fusion.WeightedConcat: (weighted_fusion.WeightedSum,),
    slim_neck.GSConv: (slim_neck.GSConvUnshuffled,),
    slim_neck.VoVGSCSP: (slim_neck.VoVGSCSPExchanged,),
}
"""Definitions that compute something else from the same parts, see `registry`."""

CERTAIN: Mapping[type[Block], frozenset[str]] = {
    necks.ShortcutBottleneck: frozenset({"GhostBottleneck"}),
    weighted_fusion.WeightedConcat: frozenset(
        {"Concat_BiFPN", "BiFPN_Concat", "BiFPN_Concat2", "BiFPN_Concat3"}
    ),
    slim_neck.GSConv: frozenset({"GSConv"}),
    slim_neck.VoVGSCSP: frozenset({"VoVGSCSP", "VoVGSCSPC"}),
}
"""Class names under which a definition with rivals is taken without images, see `registry`."""

_COMPILED = tuple((re.compile(pattern, re.I), blocks) for pattern, blocks in BY_PATTERN.items())


def of_kind(name: str) -> tuple[type[Block], ...]:
    """Return the definitions to try for a class name, by its kind; none for no known kind."""
    return next((blocks for pattern, blocks in _COMPILED if pattern.fullmatch(name)), ())
