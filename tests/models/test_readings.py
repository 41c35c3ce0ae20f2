"""Where parts fit several definitions: what is certain, what is chosen, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ghost_deploy.core.errors import AmbiguousClassError, StructureError
from ghost_deploy.models import registry
from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.ghost_rivals import GhostConvExchanged
from ghost_deploy.models.instantiate import build, readings
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.readings import Kind
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from tests.support.module_trees import tiny

STOCK = "ultralytics.nn.modules"
CONV = Kind(f"{STOCK}.GhostConv", "GhostConv")
BOTTLENECK = Kind(f"{STOCK}.GhostBottleneck", "GhostBottleneck")


def renamed(node: ModuleNode, package: str = STOCK) -> ModuleNode:
    """The tree with its blocks under the class paths of a checkpoint."""
    own = node.class_path.startswith("ghost_deploy.") and node.class_name != "DetectionNet"
    return replace(
        node,
        class_path=f"{package}.{node.class_name}" if own else node.class_path,
        children={name: renamed(child, package) for name, child in node.children.items()},
    )


OWN_TREE, TENSORS = to_node(tiny())
TREE = renamed(OWN_TREE)
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def with_name(node: ModuleNode, name: str, new: str) -> ModuleNode:
    """The tree with another class name for each class `name`."""
    path = node.class_path
    return replace(
        node,
        class_path=f"{path.rpartition('.')[0]}.{new}" if node.class_name == name else path,
        children={key: with_name(child, name, new) for key, child in node.children.items()},
    )


def kinds(net: DetectionNet) -> set[str]:
    return {type(module).__name__ for module in net.modules()}


def test_our_own_class_paths_leave_no_choice() -> None:
    assert build(OWN_TREE, TENSORS).open_choices == ()


def test_stock_names_are_taken_as_stock_and_the_choice_is_known() -> None:
    net = build(TREE, TENSORS)
    found = {choice.kind: choice for choice in net.open_choices}
    assert set(found) == {CONV, BOTTLENECK}
    assert found[CONV].options == ("GhostConv", "GhostConvExchanged", "GhostConvReLU")
    assert found[CONV].used == "GhostConv"
    assert found[CONV].certain
    assert not found[CONV].chosen
    assert len(found[CONV].options) == len(found[CONV].origins)
    assert found[CONV].modules[0].startswith("model.")
    assert torch.equal(net(IMAGE), build(OWN_TREE, TENSORS)(IMAGE))


@pytest.mark.parametrize(
    ("kind", "rival"),
    [
        (CONV, "GhostConvExchanged"),
        (CONV, "GhostConvReLU"),
        (BOTTLENECK, "GhostBottleneckNoAddition"),
    ],
)
def test_a_choice_is_used_and_computes_something_else(kind: Kind, rival: str) -> None:
    net = build(TREE, TENSORS, choices={kind: rival})
    (choice,) = [each for each in net.open_choices if each.kind == kind]
    assert choice.chosen
    assert choice.used == rival
    assert choice.used_origin in net.origins[kind.class_path]
    assert rival in kinds(net)
    out = net(IMAGE)
    assert (out - build(TREE, TENSORS)(IMAGE)).abs().max() > 1e-3
    # In our own file form and fused it computes the same.
    node, tensors = to_node(net)
    assert torch.equal(build(node, tensors)(IMAGE), out)
    torch.testing.assert_close(fuse(net)(IMAGE), out, rtol=1e-3, atol=1e-3)


def test_a_choice_that_no_module_can_have_is_not_used() -> None:
    net = build(TREE, TENSORS, choices={CONV: "GhostBottleneckNoAddition"})
    (choice,) = [each for each in net.open_choices if each.kind == CONV]
    assert choice.used == "GhostConv"
    assert not choice.chosen


class CheapFirst(GhostConvExchanged):
    origin = "fork GhostConv, cheap first"


class TooWide(GhostConv):
    origin = "fork GhostConv that fits no network"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return torch.cat((y, y), 1)


class Strict(GhostConv):
    origin = "fork GhostConv of other parts"

    def fit(self) -> None:
        require(False, "never")


def rivals_are(monkeypatch: pytest.MonkeyPatch, *blocks: type[Block]) -> ModuleNode:
    """A tree with a fork's GhostConv, whose name is not certain, and these rivals."""
    monkeypatch.setitem(registry.RIVALS, GhostConv, blocks)
    monkeypatch.setitem(registry.BLOCKS, "ForkConv", (GhostConv,))
    return with_name(TREE, "GhostConv", "ForkConv")


def test_two_readings_are_refused_and_a_choice_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = rivals_are(monkeypatch, CheapFirst)
    with pytest.raises(AmbiguousClassError, match="two readings fit") as caught:
        build(tree, TENSORS)
    assert caught.value.class_paths == (f"{STOCK}.ForkConv",)
    assert CheapFirst.origin in str(caught.value)
    assert GhostConv.origin in str(caught.value)
    assert "--images" in caught.value.fix
    for name in ("GhostConv", "CheapFirst"):
        net = build(tree, TENSORS, choices={Kind(f"{STOCK}.ForkConv", "GhostConv"): name})
        assert name in kinds(net)


def test_a_reading_that_fits_no_layer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = rivals_are(monkeypatch, TooWide, Strict)
    net = build(tree, TENSORS)
    assert "TooWide" not in kinds(net)
    assert [choice.kind for choice in readings(tree)] == [BOTTLENECK]


def test_readings_names_all_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = rivals_are(monkeypatch, CheapFirst, TooWide)
    found = {choice.kind.definition: choice.options for choice in readings(tree)}
    assert found == {
        "GhostConv": ("GhostConv", "CheapFirst"),
        "GhostBottleneck": ("GhostBottleneck", "GhostBottleneckNoAddition"),
    }
    # Ambiguity does not hinder: this is what images are then compared for.
    assert issubclass(AmbiguousClassError, StructureError)
    assert GhostBottleneck.origin in {each for c in readings(tree) for each in c.origins}
