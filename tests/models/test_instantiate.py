"""Trees become checked networks, or raise one of our errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import (
    CheckpointError,
    CorruptCheckpointError,
    StructureError,
    UnknownClassError,
)
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.head import Detect
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.tree import ModuleNode, TensorInfo
from ghost_deploy.models.tree_writer import to_node
from tests.support.assets import GHOST, GHOSTNET, needs_assets
from tests.support.module_trees import edit, randomize, read_tree, tiny

Change = Callable[[ModuleNode], ModuleNode]

TREE, TENSORS = to_node(tiny())


def attributes(**values: Any) -> Change:
    return lambda node: replace(node, attributes={**node.attributes, **values})


def without(name: str) -> Change:
    return lambda node: replace(
        node, attributes={key: value for key, value in node.attributes.items() if key != name}
    )


def renamed(class_path: str) -> Change:
    return lambda node: replace(node, class_path=class_path)


def child(name: str, node: ModuleNode) -> Change:
    return lambda parent: replace(parent, children={**parent.children, name: node})


def childless(name: str) -> Change:
    return lambda parent: replace(
        parent, children={key: node for key, node in parent.children.items() if key != name}
    )


LEAF = ModuleNode("torch.nn.modules.linear.Identity")


def nested(depth: int) -> ModuleNode:
    node = LEAF
    for _ in range(depth):
        node = ModuleNode("torch.nn.modules.container.Sequential", children={"0": node})
    return node


def doubled(depth: int) -> ModuleNode:
    """A small object that is an exponentially large tree."""
    node = LEAF
    for _ in range(depth):
        node = ModuleNode(
            "torch.nn.modules.container.Sequential", children={"0": node, "1": node, "2": node}
        )
    return node


@needs_assets
@pytest.mark.parametrize("path", [GHOST, GHOSTNET], ids=lambda path: path.stem)
def test_a_real_checkpoint_computes_what_was_recorded(path: Path) -> None:
    net = build(*read_tree(path))
    fused = fuse(net)
    assert (net.nc, net.strides, net.branch, net.notes) == (3, (8, 16, 32), "one2many", ())
    assert not net.training
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in net.parameters())
    recorded = np.load(path.with_suffix(".reference.npz"))
    name = "416_BloodImage_00000.jpg"
    x = torch.from_numpy(recorded[f"input_{name}"].astype(np.float32) / np.float32(255))
    with torch.no_grad():
        for each, most in ((net, 1e-3), (fused, 5e-3)):
            difference = np.abs(each(x).numpy() - recorded[f"raw_{name}"])
            assert difference[:, :4].max() <= most
            assert difference[:, 4:].max() <= 1e-5


@needs_assets
def test_the_origin_of_every_class_path_is_told() -> None:
    origins = build(*read_tree(GHOSTNET)).origins
    assert origins["ultralytics.nn.modules.block.C2fGhost"].startswith("fork C2fGhost")
    assert origins["ultralytics.nn.modules.conv.GhostConv"] == "Ultralytics GhostConv"
    assert origins["torch.nn.modules.conv.Conv2d"] == "torch Conv2d"
    assert list(origins) == sorted(origins)


def test_the_round_trip_is_exact() -> None:
    net = build(TREE, TENSORS)
    node, tensors = to_node(net)
    assert node == TREE
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[key], TENSORS[key]) for key in tensors)
    assert net.state_dict().keys() == tiny().state_dict().keys()


def test_a_fused_network_survives_the_round_trip() -> None:
    net = fuse(build(TREE, TENSORS))
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert torch.equal(build(*to_node(net))(x), net(x))


def test_a_fused_original_has_no_norms_at_all() -> None:
    """Ultralytics deletes `bn` when it fuses; ours puts an identity there."""
    node, tensors = to_node(fuse(build(TREE, TENSORS)))
    node = edit(node, "model.0", childless("bn"))
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert torch.equal(build(node, tensors)(x), fuse(build(TREE, TENSORS))(x))


def test_the_tensors_given_are_copied() -> None:
    tensors = {key: tensor.clone() for key, tensor in TENSORS.items()}
    net = build(TREE, tensors)
    for tensor in tensors.values():
        tensor.zero_()
    assert torch.equal(net.state_dict()["model.0.conv.weight"], TENSORS["model.0.conv.weight"])


def test_half_precision_weights_become_float32() -> None:
    tensors = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in TENSORS.items()
    }
    net = build(TREE, tensors)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    weight = net.state_dict()["model.0.conv.weight"]
    assert torch.equal(weight, tensors["model.0.conv.weight"].float())


def test_modules_that_share_a_tensor_share_it_again() -> None:
    first = TREE.children["model"].children["4"].children["m"].children["0"]
    tree = edit(TREE, "model.4.m", child("1", first))
    node, tensors = to_node(build(tree, TENSORS))
    assert len(tensors) < len(TENSORS)
    assert node.children["model"].children["4"].children["m"].children["1"] == first


def test_unknown_classes_are_named_all_at_once() -> None:
    tree = edit(TREE, "model.2", renamed("forkpkg.block.Foo"))
    tree = edit(tree, "model.4.m.0", renamed("forkpkg.Bar"))
    with pytest.raises(UnknownClassError) as caught:
        build(tree, TENSORS)
    assert caught.value.class_paths == ("forkpkg.Bar", "forkpkg.block.Foo")
    assert "--modules" in str(caught.value)


@pytest.mark.parametrize(
    "class_path",
    ["fork.nn.Conv2d", "torch.nn.modules.conv.Conv", "torchx.nn.Identity", "Identity", "",
     "torch.nn.Module", "ghost_deploy.Nothing", "torch.nn.functional.relu"],
)  # fmt: skip
def test_a_path_never_finds_a_class_of_another_package(class_path: str) -> None:
    with pytest.raises(UnknownClassError):
        build(edit(TREE, "model.3.conv.1", renamed(class_path)), TENSORS)


@pytest.mark.parametrize(
    "class_path",
    ["ultralytics.nn.modules.block.C3Ghost", "models.common.C3Ghost", "a.b.c.d.C3Ghost"],
)
def test_a_class_is_found_under_any_path(class_path: str) -> None:
    net = build(edit(TREE, "model.4", renamed(class_path)), TENSORS)
    assert net.origins[class_path] == "Ultralytics C3Ghost"


STRUCTURE: dict[str, tuple[str, Change]] = {
    "not a detector": ("", renamed("ultralytics.nn.tasks.SegmentationModel")),
    "no model": ("", childless("model")),
    "a second child": ("", child("extra", LEAF)),
    "no layers": ("model", lambda node: replace(node, children={})),
    "layers not numbered": ("model", childless("3")),
    "model not a sequence": ("model", renamed("torch.nn.modules.container.ModuleList")),
    "no head": ("model", childless("9")),
    "too deep": ("model.3.conv.1", lambda node: nested(5000)),
    "too many": ("model.3.conv.1", lambda node: doubled(30)),
    "an unknown child": ("model.1", child("cv3", LEAF)),
    "a missing child": ("model.1", childless("cv2")),
    "no activation": ("model.0", childless("act")),
    "no shortcut": ("model.2.m.0", childless("shortcut")),
    "no dfl": ("model.9", childless("dfl")),
    "a child of another class": ("model.1", child("cv2", LEAF)),
    "a member of another class": (
        "model.4.m", child("0", TREE.children["model"].children["0"])),
    "no norm and no bias": ("model.0", childless("bn")),
    "another name's structure": ("model.2", renamed("fork.C3Ghost")),
    "own parameters": (
        "model.1", lambda n: replace(n, parameters={"alpha": TensorInfo("a", "float32", (1,))})),
    "tensors of the sequence": (
        "model", lambda n: replace(n, buffers={"alpha": TensorInfo("a", "float32", (1,))})),
    "a missing attribute": ("model.8", without("c")),
    "an attribute of another type": ("model.8", attributes(c="8")),
    "a split of another width": ("model.8", attributes(c=5)),
    "more poolings": ("model.5", attributes(n=4)),
    "another axis": ("model.7", attributes(d=2)),
    "channels that do not add up": ("model.7", attributes(f=[-1, 0])),
    "maps of different sizes": ("model.7", attributes(f=[-1, 1, 3])),
    "a huge upsampling": ("model.6", attributes(scale_factor=1e6)),
    "upsampling after upsampling": (
        "model.6", lambda node: replace(
            node, class_path="torch.nn.modules.container.Sequential",
            children={str(i): edit(node, "", attributes(scale_factor=32.0)) for i in range(3)})),
    "a later layer": ("model.7", attributes(f=[-1, 8])),
    "itself": ("model.7", attributes(f=[-1, 7])),
    "before the image": ("model.7", attributes(f=[-1, -9])),
    "no source": ("model.7", attributes(f=[])),
    "a source that is no index": ("model.7", attributes(f="save")),
    "a bool as source": ("model.1", attributes(f=True)),
    "a missing source": ("model.7", without("f")),
    "too many sources": ("model.7", attributes(f=[2] * 100)),
    "another position": ("model.7", attributes(i=3)),
    "outputs that were not kept": ("", attributes(save=[2])),
    "a save that is no list": ("", attributes(save="all")),
    "more classes": ("model.9", attributes(nc=3)),
    "more bins": ("model.9", attributes(reg_max=8)),
    "more levels": ("model.9", attributes(nl=3)),
    "other strides": ("model.9", attributes(stride=[8.0, 32.0])),
    "a broken shortcut": ("model.8.m.0", attributes(add=1)),
    "maps that do not divide the image": (
        "model.0.conv", attributes(stride=[3, 3])),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_wrong_structure_is_refused(name: str) -> None:
    path, change = STRUCTURE[name]
    with pytest.raises(StructureError) as caught:
        build(edit(TREE, path, change), TENSORS)
    assert len(str(caught.value)) < 6000


def test_a_refusal_shows_the_structure_and_the_reasons() -> None:
    with pytest.raises(StructureError) as caught:
        build(edit(TREE, "model.8", attributes(c=5)), TENSORS)
    text = str(caught.value)
    for part in ("model.8", "Ultralytics C2f", "2 * c = 10", "Bottleneck(", "weight[", "--modules"):
        assert part in text


def test_a_layer_that_does_not_fit_is_named() -> None:
    with pytest.raises(StructureError, match=r"layer 8 \(C2f\)"):
        build(edit(TREE, "model.7", attributes(f=[-1, -1])), TENSORS)


def test_unknown_attributes_are_noted_not_dropped_silently() -> None:
    net = build(edit(TREE, "model.2", attributes(shortcut_scale=0.5)), TENSORS)
    assert len(net.notes) == 1
    assert "shortcut_scale" in net.notes[0]


def test_strides_are_measured_where_none_are_recorded() -> None:
    assert build(edit(TREE, "model.9", without("stride")), TENSORS).strides == (4, 8)
    assert build(edit(TREE, "model.9", attributes(stride=[0.0, 0.0])), TENSORS).strides == (4, 8)


def damage(key: str, change: Callable[[Tensor], Tensor | None]) -> dict[str, Tensor]:
    tensors = dict(TENSORS)
    changed = change(tensors.pop(key).clone())
    return tensors if changed is None else {**tensors, key: changed}


def with_first(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


WEIGHT, VARIANCE = "model.0.conv.weight", "model.0.bn.running_var"


@pytest.mark.parametrize(
    ("key", "change"),
    [
        (WEIGHT, lambda t: None),
        (WEIGHT, lambda t: t[:-1]),
        (WEIGHT, lambda t: t.transpose(2, 3)),
        (WEIGHT, lambda t: t[:1].expand(8, -1, -1, -1)),
        (WEIGHT, lambda t: t.to(torch.int8)),
        (WEIGHT, lambda t: t.to(torch.complex64)),
        (WEIGHT, with_first(float("nan"))),
        (WEIGHT, with_first(float("-inf"))),
        (WEIGHT, lambda t: t.double().fill_(1e300)),
        (VARIANCE, with_first(-0.1)),
        (VARIANCE, with_first(float("inf"))),
    ],
)
def test_damaged_data_is_refused(key: str, change: Callable[[Tensor], Tensor | None]) -> None:
    with pytest.raises(CorruptCheckpointError, match=r"model\.0\."):
        build(TREE, damage(key, change))


def test_a_changed_dfl_is_refused() -> None:
    with pytest.raises(StructureError, match="DFL"):
        build(TREE, damage("model.9.dfl.conv.weight", with_first(1)))


def test_a_step_counter_need_not_be_there() -> None:
    def strip(node: ModuleNode) -> ModuleNode:
        buffers = {k: v for k, v in node.buffers.items() if k != "num_batches_tracked"}
        return replace(node, buffers=buffers)

    net = build(edit(TREE, "model.0.bn", strip), TENSORS)
    assert net.state_dict()["model.0.bn.num_batches_tracked"] == 0


def v10(keep_one2many: bool) -> tuple[ModuleNode, dict[str, Tensor]]:
    net = tiny()
    head = net.head
    other = tiny().head
    randomize(other, 1)
    head.one2one_cv2, head.one2one_cv3 = other.cv2, other.cv3
    if not keep_one2many:
        head.cv2 = head.cv3 = None
    node, tensors = to_node(net)
    return edit(node, "model.9", renamed("ultralytics.nn.modules.head.v10Detect")), tensors


def test_a_head_with_two_branches_uses_the_one_that_needs_nms() -> None:
    net = build(*v10(keep_one2many=True))
    x = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert net.branch == "one2many"
    assert torch.equal(net(x), build(TREE, TENSORS)(x))
    net.branch = "one2one"
    assert net(x).shape == (2, 300, 6)


def test_a_head_with_only_the_other_branch_uses_that() -> None:
    net = build(*v10(keep_one2many=False))
    assert net.branch == "one2one"
    x = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    y = net(x)
    assert y.shape == (1, 80, 6)
    assert set(y[..., 5].unique().tolist()) <= {0.0, 1.0}


class Swish(nn.Module):
    """What a user may bring: made without `__init__`, with the file's attributes and parts."""

    def __init__(self) -> None:
        raise AssertionError("a definition of the user is put together, not called")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.gain * self.factors[0]


USER = ModuleNode(
    "somebody.blocks.Swish",
    {"factors": [2.0, 3.0], "training": True},
    {"gain": TensorInfo("gain", "float32", ())},
    {"unused": TensorInfo("unused", "float32", (3,))},
    {"inner": ModuleNode("torch.nn.modules.activation.SiLU", {"inplace": False})},
)
USER_TENSORS = {**TENSORS, "gain": torch.tensor(0.25), "unused": torch.zeros(3)}


def test_a_definition_of_the_user_stands_for_its_name() -> None:
    tree = edit(TREE, "model.3.conv.1", lambda node: USER)
    tree = edit(TREE, "model.5.cv1", child("act", LEAF))
    tree = edit(
        tree,
        "model.6",
        lambda node: replace(USER, attributes={**USER.attributes, "i": 6, "f": -1}),
    )
    tree = edit(tree, "model.7", attributes(f=[-1, 5]))
    with pytest.raises(StructureError, match=r"somebody\.blocks\.Swish of an unknown structure"):
        build(tree, USER_TENSORS)
    with pytest.raises(StructureError, match=r"layer 8 \(C2f\)"):
        build(tree, USER_TENSORS, extra={"Swish": Swish})


def test_a_definition_of_the_user_computes_and_survives_the_round_trip() -> None:
    layer = replace(USER, attributes={**USER.attributes, "i": 6, "f": -1})
    tree = edit(TREE, "model.6", lambda node: layer)
    tree = edit(tree, "model.7", attributes(f=[-1, 4]))
    tree = edit(tree, "model.8.cv1.conv", attributes(in_channels=32))
    info = TensorInfo("wide", "float32", (8, 32, 1, 1))
    tree = edit(tree, "model.8.cv1.conv", lambda n: replace(n, parameters={"weight": info}))
    tree = edit(tree, "model.9", without("stride"))
    tensors = {**USER_TENSORS, "wide": torch.ones(info.shape)}
    net = build(tree, tensors, extra={"Swish": Swish})
    x = torch.randn((1, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.model[6](x), nn.functional.silu(x) * 0.5)
    assert net.origins["somebody.blocks.Swish"] == "user's Swish"
    assert not net.training
    image = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    again = build(*to_node(net), extra={"Swish": Swish})
    assert torch.equal(again(image), net(image))


def test_an_attribute_cannot_hide_a_method_of_the_user() -> None:
    bad = replace(USER, attributes={"forward": "os.system"})
    tree = edit(TREE, "model.6", lambda node: bad)
    with pytest.raises(StructureError, match="hide a method"):
        build(tree, USER_TENSORS, extra={"Swish": Swish})


def test_a_definition_of_the_user_goes_before_ours_but_not_before_torchs() -> None:
    class GhostConv(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = self.cv1(x)
            return torch.cat((self.cv2(first), first), 1)

    class SiLU(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError

    tree = edit(TREE, "model.1", renamed("fork.GhostConv"))
    net = build(tree, TENSORS, extra={"GhostConv": GhostConv, "SiLU": SiLU})
    stock = build(TREE, TENSORS)
    x = torch.randn((1, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.model[1](x), stock.model[1](x).roll(4, 1))


def test_random_damage_gives_our_errors_and_nothing_else() -> None:
    """Attributes, shapes, names and children changed at random: refused, or a working network."""
    rng = random.Random(0)
    names = [name for name, _ in TREE.walk() if name]
    values = [None, True, 0, -1, 1, 2, 10**9, 0.5, float("nan"), "x", [], [1, 2], [-1, 99], {}]
    x = torch.zeros((1, 3, 64, 64))
    refused = 0
    for _ in range(120):
        path = rng.choice(names)

        def change(node: ModuleNode) -> ModuleNode:
            kind = rng.randrange(4)
            if kind == 0 and node.attributes:
                return attributes(**{rng.choice(list(node.attributes)): rng.choice(values)})(node)
            if kind == 1 and node.children:
                return childless(rng.choice(list(node.children)))(node)
            if kind == 2 and node.parameters:
                key = rng.choice(list(node.parameters))
                info = replace(node.parameters[key], shape=(rng.randrange(9), 3))
                return replace(node, parameters={**node.parameters, key: info})
            return child(rng.choice(["0", "9", "cv1", "act"]), LEAF)(node)

        try:
            net = build(edit(TREE, path, change), TENSORS)
        except CheckpointError:
            refused += 1
            continue
        assert isinstance(net.head, Detect)
        assert net(x).shape == (1, 6, 320)
    assert refused > 70
