"""Variants of the kinds of classes in forks, against the arithmetic that a fork writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.assembler import Assembler
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.load_weights import load_weights
from ghost_deploy.models.tree_writer import TreeWriter
from tests.support import fork_classes as fork
from tests.support.module_trees import live_tree, randomize

STOCK = ("Bottleneck", "GhostBottleneck", "GhostConv")


def built(module: nn.Module, option: str = "") -> tuple[nn.Module, Assembler]:
    """The module as read from a fork's checkpoint, with the choice `option` where it is open."""
    tree, tensors = live_tree(module, "fork.modules")
    assembler = Assembler({}, {})
    assembler.module(tree, "fork")
    for choice in assembler.open_choices():
        if option in choice.options:
            assembler = Assembler({}, {choice.kind: option})
    found = assembler.module(tree, "fork")
    holder = nn.ModuleDict({"fork": found})
    root = type(tree)("holder", children={"fork": tree})
    load_weights(holder, root, tensors)
    return found.eval(), assembler


Make = Callable[[], nn.Module]
GATES: dict[str, Make] = {
    "SE of linear layers": lambda: fork.SELayer(8),
    "SE under other names": lambda: fork.SE(8),
    "SE of convolutions": lambda: fork.SE(8, convs=True),
    "ECA without module for its gate": lambda: fork.ECAAttention(5),
    "coordinate attention": lambda: fork.CABlock(8),
    "EMA": lambda: fork.EMA(8),
    "SimAM": fork.SimAM,
    "CBAM": lambda: fork.CBAM(8),
}
CASES: dict[str, tuple[Make, str]] = {
    **{name: (make, "") for name, make in GATES.items()},
    "flat pairs": (lambda: fork.GhostConvFlat(8, 8), "FreeGhostActEach"),
    "flat pairs, act last": (lambda: fork.GhostConvFlat(8, 8, last=True), "FreeGhostConv"),
    "flat pairs, exchanged": (
        lambda: fork.GhostConvFlat(8, 8, last=True, exchanged=True),
        "FreeGhostExchanged",
    ),
    "cut to an odd width": (lambda: fork.GhostModuleX(8, 7), "FreeGhostConv"),
    "gate last": (
        lambda: fork.GhostConvGate(8, 8, fork.SELayer(8), "last"),
        "FreeGhostConv",
    ),
    "gate on the primary half": (
        lambda: fork.GhostConvGate(8, 8, fork.ECAAttention(), "primary"),
        "FreeGhostGatePrimary",
    ),
    "gate beside": (
        lambda: fork.GhostConvGate(8, 8, fork.CABlock(4), "beside"),
        "FreeGhostGateBeside",
    ),
    "gate on the cheap half": (
        lambda: fork.GhostConvGate(8, 8, fork.ECAAttention(), "cheap"),
        "FreeGhostGateCheap",
    ),
    "gate on the input": (
        lambda: fork.GhostConvGate(8, 8, fork.SimAM(), "input"),
        "FreeGhostGateInput",
    ),
    "a flag adds": (lambda: fork.GhostBottleneck(8, True, "use_shortcut"), ""),
    "a flag does not add": (lambda: fork.GhostBottleneck(8, False, "add"), ""),
    "no flag, adds": (lambda: fork.GhostBottleneck(8, True), "FreeBottleneck"),
    "no flag, does not add": (
        lambda: fork.GhostBottleneck(8, False),
        "FreeBottleneckNoAddition",
    ),
    "a flag adds, activation last": (
        lambda: fork.GhostBottleneckAct(8, True, "last"),
        "FlaggedBottleneck",
    ),
    "a flag adds, activation of the body": (
        lambda: fork.GhostBottleneckAct(8, True, "body"),
        "FreeBottleneckActBody",
    ),
    "a flag adds, activation not used": (
        lambda: fork.GhostBottleneckAct(8, True, ""),
        "FreeBottleneckActUnused",
    ),
    "a flag does not add, activation last": (
        lambda: fork.GhostBottleneckAct(8, False, "last"),
        "FreeBottleneckNoAddition",
    ),
    "a flag does not add, activation not used": (
        lambda: fork.GhostBottleneckAct(8, False, ""),
        "NoAdditionActUnused",
    ),
    "a flag against its shortcut": (
        lambda: fork.GhostBottleneckBoth(8, "add", False),
        "FreeBottleneckNoAddition",
    ),
    "a flag against its shortcut, not used": (
        lambda: fork.GhostBottleneckBoth(8, "use_shortcut", True),
        "UnflaggedBottleneck",
    ),
    "nothing to add": (lambda: fork.GhostBottleneckDown(8), ""),
    "gate in the body": (
        lambda: fork.GhostBottleneck(8, True, gate=fork.SE(8), place="body"),
        "FreeBottleneck",
    ),
    "gate after the addition": (
        lambda: fork.GhostBottleneck(8, True, gate=fork.EMA(8), place="last"),
        "FreeBottleneckGateLast",
    ),
    "gate before the body": (
        lambda: fork.GhostBottleneck(8, True, gate=fork.CBAM(8), place="first"),
        "FreeBottleneckGateFirst",
    ),
    "parallel branches": (lambda: fork.RepDWBlock(8), ""),
    "a Ghost convolution of branches": (lambda: fork.GhostConvRep(8, 8), "FreeGhostConv"),
    "GSConv": (lambda: fork.GSConv(8, 12, 3), ""),
    "slim neck": (lambda: fork.VoVGSCSPC(8, 16), ""),
    "C3k2 of Ghost C3k": (lambda: fork.GhostC3k2(8, 16), ""),
    "C3 with attention": (lambda: fork.GhostC3k(8, fork.CABlock(8)), "C3GateLast"),
    "cv0 before": (lambda: fork.C2fZero(8, 16, two_paths=False), ""),
    "cv0 beside": (lambda: fork.C2fZero(8, 16, two_paths=True), ""),
    "HGBlock": (lambda: fork.HGBlockGhost(8), ""),
    "group norm": (lambda: fork.ConvGN(8, 12, 3), ""),
    "V2, SiLU": (lambda: fork.GhostV2Gate(8, 8, nn.SiLU()), "GhostModuleV2"),
    "V2, no pooling": (
        lambda: fork.GhostV2Gate(8, 8, nn.Hardsigmoid(), pool=""),
        "GhostModuleV2NoPool",
    ),
    "V2, maximum": (
        lambda: fork.GhostV2Gate(8, 8, nn.Sigmoid(), pool="max"),
        "GhostModuleV2MaxPool",
    ),
    "V2, before": (
        lambda: fork.GhostV2Gate(8, 8, nn.Sigmoid(), before=True),
        "GhostModuleV2Before",
    ),
    "V2, before, no pooling": (
        lambda: fork.GhostV2Gate(8, 8, nn.Sigmoid(), pool="", before=True),
        "GhostModuleV2BeforeNoPool",
    ),
}


def test_a_stock_bottleneck_with_a_flag_against_its_shortcut_is_open() -> None:
    class GhostBottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                fork.GhostConv(8, 4), nn.Identity(), fork.GhostConv(4, 8, act=0)
            )
            self.shortcut, self.use_shortcut = nn.Identity(), False

    _, assembler = built(GhostBottleneck())
    (choice,) = (c for c in assembler.open_choices() if "Bottleneck" in c.kind.class_path)
    assert not choice.decided
    assert choice.options == ("FreeBottleneckNoAddition", "UnflaggedBottleneck")


@pytest.mark.parametrize("name", CASES)
def test_a_variant_computes_what_its_fork_computes(name: str) -> None:
    make, option = CASES[name]
    module = randomize(make())
    found, assembler = built(module, option)
    if option:
        (choice,) = (each for each in assembler.open_choices() if option in each.options)
        assert choice.used == option
    x = torch.randn((2, 8, 8, 12), generator=torch.Generator().manual_seed(1)).double()
    wanted = module.double()(x)
    assert wanted.std() > 0.01
    torch.testing.assert_close(found.double()(x), wanted, rtol=1e-9, atol=1e-9)
    fused = fuse(found)
    torch.testing.assert_close(fused(x), wanted, rtol=1e-8, atol=1e-8)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    # Our own form names the definition itself, before and after fusion.
    for each in (found, fused):
        again = reread(each.float())
        torch.testing.assert_close(again(x.float()), each(x.float()))


def reread(module: nn.Module) -> nn.Module:
    writer = TreeWriter()
    tree = writer.node(module, "fork")
    holder = nn.ModuleDict({"fork": Assembler({}, {}).module(tree, "fork")})
    load_weights(holder, type(tree)("holder", children={"fork": tree}), writer.tensors)
    found: nn.Module = holder["fork"].eval()
    return found


@pytest.mark.parametrize(
    ("module", "option"),
    [(fork.ConcatBiFPN3(), ""), (fork.BiFPNAdd(8), ""), (fork.ConcatBiFPN3(2), "WeightedConcat")],
    ids=["three maps", "sum", "two maps"],
)
def test_a_fusion_takes_several_maps(module: Any, option: str) -> None:
    maps = [torch.randn((1, 8, 4, 4)) for _ in range(len(next(module.parameters())))]
    found, _ = built(module, option)
    torch.testing.assert_close(found(maps), module(maps))
    with pytest.raises(ValueError, match="weights got"):
        found([maps[0]])


Broken = Callable[[Any], None]
BROKEN: dict[str, tuple[Make, Broken]] = {
    "a parameter": (lambda: fork.SELayer(8), lambda m: m.register_parameter("w", weight())),
    "a third layer": (lambda: fork.SELayer(8), lambda m: m.fc.append(nn.Linear(8, 8))),
    "an even kernel": (fork.ECAAttention, lambda m: setattr(m, "conv", nn.Conv1d(1, 1, 4))),
    "a stride": (lambda: fork.CABlock(8), lambda m: setattr(m, "F_h", nn.Conv2d(4, 8, 1, 2))),
    "three convolutions": (
        lambda: fork.GhostConvFlat(8, 8),
        lambda m: setattr(m, "cv3", fork.Conv(8, 8)),
    ),
    "a dense cheap half": (
        lambda: fork.GhostConvFlat(8, 8),
        lambda m: setattr(m, "cheap_conv", nn.Conv2d(4, 4, 3, 1, 1, bias=False)),
    ),
    "a strided branch": (
        lambda: fork.RepDWBlock(8),
        lambda m: setattr(m, "conv3", fork.Conv(8, 8, 3, 2, 8, 0)),
    ),
    "an activation in a branch": (
        lambda: fork.RepDWBlock(8),
        lambda m: setattr(m, "conv3", fork.Conv(8, 8, 3, 1, 8)),
    ),
    "a deployed flag": (lambda: fork.RepDWBlock(8), lambda m: setattr(m, "deploy", True)),
    "a wrong attention": (
        lambda: fork.GhostC3k(8, fork.CABlock(6)),
        lambda m: None,
    ),
    "another group": (lambda: fork.EMA(8), lambda m: setattr(m, "conv1x1", nn.Conv2d(4, 4, 1))),
}


def weight() -> nn.Parameter:
    return nn.Parameter(torch.ones(3))


@pytest.mark.parametrize("name", BROKEN)
def test_other_parts_are_refused(name: str) -> None:
    make, change = BROKEN[name]
    module = make()
    change(module)
    with pytest.raises(StructureError, match="of an unknown structure"):
        built(module)


def test_a_name_of_a_kind_does_not_open_other_parts() -> None:
    class GhostAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = fork.Conv(8, 8), nn.Dropout(0.1)

    with pytest.raises(StructureError, match="of an unknown structure"):
        built(GhostAttention())


def test_two_halves_of_a_tensor_are_independent() -> None:
    """Parts keep the names of the file in the state_dict, and are reached by the declared ones."""
    found, _ = built(randomize(fork.CABlock(8)))
    assert "F_h.weight" in found.state_dict()
    part: Tensor = found.conv_h.weight  # type: ignore[union-attr, assignment]
    assert torch.equal(part, found.state_dict()["F_h.weight"])
