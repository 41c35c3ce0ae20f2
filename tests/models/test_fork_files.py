"""Checkpoints of forks compute what their forks computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.core.errors import AmbiguousClassError
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.readings import Kind
from tests.support.assets import needs_assets
from tests.support.fork_files import FORKS, fork_deviation, fork_tree

CERTAIN = (
    "bifpn", "bottleneck-5parts", "c3k2-ghost-add", "coordatt-layer", "detect-lscd", "eca-layer",
    "ghost-hgblock", "ghostc2f", "pair1-a", "renamed-model", "slimneck",
)  # fmt: skip
"""Files whose parts and names leave no doubt, or that have the arithmetic of stock classes."""

Chosen = dict[tuple[str, str], str]
BARE: Chosen = {("GhostBottleneck", "FreeBottleneck"): "FreeBottleneck"}
CHOSEN: dict[str, Chosen] = {
    "c3ghost-bare": BARE,
    "ghostconv-actlast": {("GhostConv", "FreeGhostConv"): "FreeGhostConv"},
    "ghostconv-primary": {("GhostConv", "FreeGhostConv"): "FreeGhostConv"},
    "ghostv2-nopool": {("GhostModuleV2", "GhostModuleV2"): "GhostModuleV2NoPool"},
    "pair1-b": {("GhostConv", "GhostConv"): "GhostConvExchanged"},
    "pair3-a": {("GhostConvECA", "FreeGhostConv"): "FreeGhostConv"},
    "rep-ghostv3": {
        ("GhostConvV3", "FreeGhostConv"): "FreeGhostConv",
        ("GhostBottleneckV3", "ShortcutBottleneck"): "ShortcutBottleneck",
    },
    "se-bottleneck": {("GhostBottleneck_SE", "FreeBottleneck"): "FreeBottleneck"},
    "v26-ghost-bare": BARE,
}
"""The definition to use by class name and first definition, in files that leave a choice."""

ANCHORS = {"v5n-ghost", "v5n6-ghost-model"}


@needs_assets
def test_every_file_is_tested() -> None:
    names = {path.stem for path in Path(FORKS).glob("*.pt")}
    assert names == {*CERTAIN, *CHOSEN, *ANCHORS}


@needs_assets
@pytest.mark.parametrize("name", ["c3ghost-bare", "pair3-a"])
def test_two_readings_are_refused_without_a_choice(name: str) -> None:
    with pytest.raises(AmbiguousClassError, match=r"two readings fit.*--images"):
        build(*fork_tree(name))


@needs_assets
@pytest.mark.parametrize("name", [*CERTAIN, *CHOSEN])
def test_a_file_computes_what_was_recorded(name: str) -> None:
    tree, tensors = fork_tree(name)
    paths = {node.class_name: node.class_path for _, node in tree.walk()}
    chosen = CHOSEN.get(name, {}).items()
    choices = {Kind(paths[of], first): option for (of, first), option in chosen}
    net = build(tree, tensors, choices=choices)
    box, score = fork_deviation(net, name)
    assert (box < 0.005, score < 1e-5) == (True, True)
    box, score = fork_deviation(fuse(net), name)
    assert (box < 0.005, score < 2e-5) == (True, True)
