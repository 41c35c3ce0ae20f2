"""Heads with two branches, files of early versions, and folded forms, as networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.reparam import RepVGGDW
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from ghost_deploy.models.zoo_yaml import build_zoo, parse
from tests.support.module_trees import edit, randomize

X = torch.rand((1, 3, 64, 96), generator=torch.Generator().manual_seed(0))

SURROUNDINGS: list[list[Any]] = [
    [-1, 1, "Focus", [8, 3]],
    [-1, 2, "C1", [8]],
    [-1, 1, "AConv", [16]],
    [-1, 1, "RepNCSPELAN4", [16, 16, 8, 1]],
    [-1, 1, "ADown", [16]],
    [-1, 1, "ELAN1", [16, 16, 8]],
    [-1, 1, "C2PSA", [16]],
    [-1, 1, "SCDown", [32, 3, 2]],
    [-1, 1, "C2fCIB", [32, True, True]],
    [-1, 1, "SPPELAN", [32, 16]],
    [-1, 1, "C2fPSA", [32]],
    [-1, 1, "PSA", [32]],
    [-1, 1, "ConvTranspose", [16]],
    [[-1, 6], 1, "Concat", [1]],
    [-1, 2, "C3k2", [32, True]],
    [-1, 1, "RepConv", [16]],
    [-1, 1, "Conv2", [16]],
    [-1, 1, "BottleneckCSP", [16]],
    [-1, 2, "C2", [16]],
    [-1, 1, "SPP", [16]],
    [[-1, 11], 1, "Detect", ["nc", 16, False, True]],
]


def surroundings() -> DetectionNet:
    """A detector with one of nearly every block that this version has besides the Ghost blocks."""
    net = parse(SURROUNDINGS, (1.0, 1.0, 64), nc=2)
    net.check((64, 64))
    randomize(net)
    return net


def outputs(net: DetectionNet, x: Tensor) -> list[Tensor]:
    """Of all branches."""
    found = []
    for branch in net.branches:
        net.branch = branch
        found.append(net(x))
    net.branch = net.branches[0]
    return found


def test_every_block_survives_the_round_trip_unfused_and_fused() -> None:
    net = surroundings()
    for each in (net, fuse(net)):
        again = build(*to_node(each))
        for ours, wanted in zip(outputs(again, X), outputs(each, X), strict=True):
            assert torch.equal(ours, wanted)


def test_fusion_keeps_both_branches_of_a_head() -> None:
    net = surroundings().double()
    fused = fuse(net)
    assert fused.branches == ("one2many", "one2one")
    for ours, wanted in zip(outputs(fused, X.double()), outputs(net, X.double()), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-8)


def test_a_head_with_two_branches_uses_one2many_unless_told() -> None:
    net = surroundings()
    assert (net.branch, net.branches) == ("one2many", ("one2many", "one2one"))
    many, one = outputs(net, X)
    assert many.shape == (1, 6, 48 * 32 // 16 + 24)
    assert one.shape == (1, 120, 6)
    scores = one[0, :, 4]
    assert bool((scores[:-1] >= scores[1:]).all())
    # The branches have weights of their own.
    best = many[0, 4:].amax(0).sort(descending=True).values
    assert not torch.allclose(scores[:5], best[:5])


def _without(node: ModuleNode, *names: str) -> ModuleNode:
    kept = {key: value for key, value in node.attributes.items() if key not in names}
    children = {name: _without(child, *names) for name, child in node.children.items()}
    return replace(node, attributes=kept, children=children)


def _moved(node: ModuleNode) -> ModuleNode:
    """The class paths of 8.0.0, before modules were files of a package."""
    path = node.class_path.replace("ghost_deploy.", "ultralytics.nn.modules.")
    path = path.replace("modules.DetectionNet", "tasks.DetectionModel")
    children = {name: _moved(child) for name, child in node.children.items()}
    return replace(node, class_path=path, children=children)


def _as_first(node: ModuleNode) -> ModuleNode:
    older = {"anchors": [], "strides": [], "shape": None, "no": 66, "inplace": True}
    strides = {"stride": [8.0, 16.0, 32.0]}
    return replace(node, attributes={**node.attributes, **older, **strides})


def test_a_file_of_the_first_ultralytics_version() -> None:
    """Without what was added since: `n` and `add` of SPPF, an attribute of torch's Upsample."""
    net = build_zoo("yolov8n", nc=2)
    randomize(net)
    tree, tensors = to_node(net)
    tree = edit(_moved(tree), "model.9", lambda node: _without(node, "n", "add"))
    tree = edit(tree, "model.10", lambda node: _without(node, "recompute_scale_factor"))
    tree = edit(tree, "model.22", _as_first)
    built = build(tree, tensors)
    assert built.notes == ()
    assert built.origins["ultralytics.nn.modules.C2f"] == "Ultralytics C2f"
    assert torch.equal(built(X), net(X))


@pytest.mark.parametrize("name", ["Detect", "v10Detect"])
def test_a_head_is_read_from_its_parts_not_from_its_name(name: str) -> None:
    net = surroundings()
    tree, tensors = to_node(net)
    last = str(len(net.model) - 1)
    tree = edit(tree, f"model.{last}", lambda node: replace(node, class_path=f"fork.head.{name}"))
    for ours, wanted in zip(outputs(build(tree, tensors), X), outputs(net, X), strict=True):
        assert torch.equal(ours, wanted)


def test_other_definitions_of_a_name_are_tried_and_told() -> None:
    tree, tensors = to_node(surroundings())
    tree = edit(tree, "model.8", lambda node: _without(node, "c"))
    with pytest.raises(StructureError, match="C2fCIB of an unknown structure"):
        build(tree, tensors)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("model.15", "it needs conv1 and conv2, or only conv"),
        ("model.8.m.0.cv1.2", "must be a fused Conv2d with bias"),
    ],
    ids=["RepConv", "RepVGGDW"],
)
def test_half_of_a_pair_of_branches_is_refused(layer: str, text: str) -> None:
    tree, tensors = to_node(surroundings())

    def less(node: ModuleNode) -> ModuleNode:
        children = {key: child for key, child in node.children.items() if key != "conv1"}
        return replace(node, children=children)

    with pytest.raises(StructureError, match=text):
        build(edit(tree, layer, less), tensors)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda block: setattr(block.conv1.conv, "padding", (0, 0)), "same centre"),
        (lambda block: setattr(block.conv1.conv, "stride", (2, 2)), "equal stride"),
        (lambda block: setattr(block.conv1, "act", nn.SiLU()), "no activation"),
        (lambda block: setattr(block.conv1.conv, "padding", "same"), "number of cells"),
        (lambda block: setattr(block.conv, "conv", nn.Conv2d(8, 8, 7, padding=3)), "equal groups"),
        (lambda block: setattr(block.conv.conv, "dilation", (2, 2)), "not be dilated"),
    ],
)
def test_branches_that_do_not_add_up_to_one_convolution(change: Any, text: str) -> None:
    block = RepVGGDW(8)
    block.fit()
    change(block)
    with pytest.raises(MisfitError, match=text):
        block.fit()
