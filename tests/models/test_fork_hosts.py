"""Class names of forks, and the parts that their definitions require."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ghost_deploy.core.errors import StructureError, UnknownClassError
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.csp import C3, C2f
from ghost_deploy.models.fork_hosts import FORK_HOSTS, BottleneckHost
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.ghost import C2fGhost, C3Ghost, GhostBottleneck, GhostConv
from ghost_deploy.models.head import Detect
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet, LayerInput
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from tests.support.module_trees import edit, randomize

X = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def net_around(host: nn.Module) -> DetectionNet:
    layers = [Conv(3, 8, 3, 2), host, Detect(2, [16])]
    net = DetectionNet(
        layers, [LayerInput((-1,), False), LayerInput((0,), False), LayerInput((1,), True)]
    )
    net.check((64, 64))
    randomize(net)
    return net


def with_members(host: nn.Module, *members: nn.Module, **parts: nn.Module) -> nn.Module:
    host.m = type(host.m)(members) if isinstance(host, C2f) else nn.Sequential(*members)
    for name, part in parts.items():
        setattr(host, name, part)
    return host


def renamed(net: DetectionNet, class_path: str) -> ModuleNode:
    return edit(to_node(net)[0], "model.1", lambda node: replace(node, class_path=class_path))


def pair() -> nn.Module:
    return nn.Sequential(GhostConv(8, 8, 3), GhostConv(8, 8))


def ghostly_bottleneck() -> BottleneckHost:
    block = BottleneckHost(8, 8, e=1.0)
    block.cv1, block.cv2 = GhostConv(8, 8, 3), GhostConv(8, 8, 3)
    return block


HOSTS = [
    ("C2f_Ghost", C2fGhost(8, 16, 2), "fork C2fGhost"),
    ("C3k2Ghost", C2fGhost(8, 16, 2), "fork C2fGhost"),
    ("C2f", C2fGhost(8, 16, 2), "fork host: C2f"),
    ("C3k2", C2fGhost(8, 16, 2), "fork host: C2f"),
    ("C3k2_Ghost", C3Ghost(8, 16, 2), "Ultralytics C3Ghost"),
    ("C3k_GhostConv", with_members(C3(8, 16), GhostConv(8, 8)), "fork host: C3"),
    ("C2fGhostConv", with_members(C2f(8, 16, 2), GhostConv(8, 8), pair()), "fork host: C2f"),
    ("C3k2_GhostModuleV2", with_members(C2f(8, 16), C3Ghost(8, 8)), "fork host: C2f"),
    ("C2fGhost", with_members(C2f(8, 16), ghostly_bottleneck()), "fork host: C2f"),
    (
        "C2f_Ghost",
        with_members(
            C2f(8, 16), GhostBottleneck(8, 8), cv1=GhostConv(8, 16), cv2=GhostConv(24, 16)
        ),
        "fork host: C2f",
    ),
]


@pytest.mark.parametrize(("name", "host", "origin"), HOSTS, ids=[name for name, *_ in HOSTS])
def test_a_fork_name_finds_the_host_of_its_parts(name: str, host: nn.Module, origin: str) -> None:
    net = net_around(host)
    path = f"ultralytics.nn.AddModules.GhostModule.{name}"
    built = build(renamed(net, path), to_node(net)[1])
    assert built.origins[path].startswith(origin)
    assert torch.equal(built(X), net(X))
    # Our own form names the definition itself, before and after fusion.
    for each in (built, fuse(built)):
        assert torch.equal(build(*to_node(each))(X), each(X))


def test_a_host_without_the_width_of_its_halves() -> None:
    net = net_around(C2fGhost(8, 16, 2))
    tree = edit(renamed(net, "fork.C2fGhost"), "model.1", lambda node: replace(node, attributes={}))
    tree = edit(tree, "model.1", lambda node: replace(node, attributes={"i": 1, "f": -1}))
    assert torch.equal(build(tree, to_node(net)[1])(X), net(X))


def test_a_name_of_no_known_kind_is_never_guessed() -> None:
    net = net_around(C2fGhost(8, 16, 2))
    with pytest.raises(UnknownClassError, match=r"MyBlock.*--modules"):
        build(renamed(net, "fork.MyBlock"), to_node(net)[1])


@pytest.mark.parametrize(
    "parts",
    [{"cv1": Conv(8, 12)}, {"cv2": Conv(24, 16)}, {"cv3": Conv(16, 16)}, {"cv2": nn.Identity()}],
    ids=["cv1", "cv2", "cv3", "no conv"],
)
def test_other_parts_are_refused_and_shown(parts: dict[str, nn.Module]) -> None:
    net = net_around(C2fGhost(8, 16, 2))
    host = net.model[1]
    for name, part in parts.items():
        setattr(host, name, part)
    tree, tensors = to_node(net)
    tree = edit(tree, "model.1", lambda node: replace(node, class_path="fork.C2f_Ghost"))
    with pytest.raises(StructureError, match=r"C2f_Ghost of an unknown structure.*(?s:Found)"):
        build(tree, tensors)


def test_the_table_has_the_names_of_the_tutorials() -> None:
    names = {"C2f_Ghost", "C2f_GhostBottleneckV2", "C3k2Ghost", "C3k2_GhostV2", "C3k_GhostConv"}
    assert names <= FORK_HOSTS.keys()
    assert "C2f" not in FORK_HOSTS
