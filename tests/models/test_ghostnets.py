"""The Ghost blocks of Huawei and of forks against definitions written anew, in float64.

As in `test_blocks`, the definitions use torch's functions on raw tensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block
from ghost_deploy.models.c2f_ghost import C2fGGhost, C2fGhostV1, C2fGhostV2, C2fGhostV3
from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.g_ghost import GGhostStage, RegNetBottleneck
from ghost_deploy.models.ghost_parts import divisible_by_4
from ghost_deploy.models.ghostnet_v1 import (
    GhostBottleneckV1,
    GhostModule,
    SqueezeExcite,
    SqueezeExciteGated,
)
from ghost_deploy.models.ghostnet_v2 import (
    GhostBottleneckV2,
    GhostConvBottleneckV2,
    GhostConvV2,
    GhostModuleV2,
)
from ghost_deploy.models.ghostnet_v3 import ATTENTION, GhostBottleneckV3, GhostModuleV3
from ghost_deploy.models.torch_layers import TORCH_LAYERS
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import TreeWriter
from ghost_deploy.models.user_class import UserClass
from tests.models.test_blocks import c2f, conv, ghost_conv
from tests.support.module_trees import randomize


def norm(m: Any, x: Tensor) -> Tensor:
    mean, var, gain, shift = (
        s.view(1, -1, 1, 1) for s in (m.running_mean, m.running_var, m.weight, m.bias)
    )
    return (x - mean) / (var + m.eps) ** 0.5 * gain + shift


def plain(m: Any, x: Tensor) -> Tensor:
    return functional.conv2d(x, m.weight, m.bias, m.stride, m.padding, 1, m.groups)


def chain(parts: Any, x: Tensor) -> Tensor:
    """Raw convolutions, batch norms and ReLUs in a row."""
    for part in parts:
        if isinstance(part, nn.Conv2d):
            x = plain(part, x)
        elif isinstance(part, nn.BatchNorm2d):
            x = norm(part, x)
        elif isinstance(part, nn.ReLU):
            x = x.clamp(min=0)
        else:
            assert isinstance(part, nn.Sequential)
            assert not len(part)
    return x


def ghost_v1(m: Any, x: Tensor) -> Tensor:
    y = chain(m.primary_conv, x)
    return torch.cat([y, chain(m.cheap_operation, y)], 1)[:, : m.oup]


def gate_v2(m: Any, x: Tensor, size: torch.Size) -> Tensor:
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    cells = x[:, :, : 2 * rows, : 2 * columns].unflatten(3, (columns, 2)).unflatten(2, (rows, 2))
    weight = 1 / (1 + (-chain(m.short_conv, cells.mean((3, 5)))).exp())
    row = torch.arange(size[2]) * weight.shape[2] // size[2]
    column = torch.arange(size[3]) * weight.shape[3] // size[3]
    return weight[:, :, row][:, :, :, column]


def ghost_v2(m: Any, x: Tensor) -> Tensor:
    y = ghost_v1(m, x)
    return y if m.mode != "attn" else y * gate_v2(m, x, y.shape)


def ghost_conv_v2(m: Any, x: Tensor) -> Tensor:
    y = ghost_conv(m, x)
    return y if m.mode != "attn" else y * gate_v2(m, x, y.shape)


def branches(m: Any, part: str, x: Tensor) -> Tensor:
    """The sum of a part's branches, each by its names."""
    y = sum(norm(b.bn, plain(b.conv, x)) for b in getattr(m, f"{part}_rpr_conv"))
    if (scale := getattr(m, f"{part}_rpr_scale")) is not None:
        y = y + norm(scale.bn, plain(scale.conv, x))
    if (skip := getattr(m, f"{part}_rpr_skip")) is not None:
        y = y + norm(skip, x)
    return y


def ghost_v3(m: Any, x: Tensor) -> Tensor:
    y = branches(m, "primary", x)
    y = y.clamp(min=0) if m.primary_activation is not None else y
    z = branches(m, "cheap", y)
    z = z.clamp(min=0) if m.cheap_activation is not None else z
    joined = torch.cat([y, z], 1)
    if m.mode == "ori":
        return joined
    return joined[:, : m.oup] * gate_v2(m, x, joined.shape)


def squeeze(m: Any, x: Tensor) -> Tensor:
    e = plain(m.conv_expand, plain(m.conv_reduce, x.mean((2, 3), keepdim=True)).clamp(min=0))
    return x * (e + 3).clamp(0, 6) / 6


def squeeze_sigmoid(m: Any, x: Tensor) -> Tensor:
    e = plain(m.conv_expand, plain(m.conv_reduce, x.mean((2, 3), keepdim=True)).clamp(min=0))
    return x / (1 + (-e).exp())


def bottleneck(ghost: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def reference(m: Any, x: Tensor) -> Tensor:
        y = ghost(m.ghost1, x)
        if m.stride == 2 and isinstance(m, GhostBottleneckV3):
            y = branches(m, "dw", y)
        elif m.stride == 2:
            y = norm(m.bn_dw, plain(m.conv_dw, y))
        if m.se is not None:
            y = squeeze(m.se, y)
        return ghost(m.ghost2, y) + chain(m.shortcut, x)

    return reference


def bottleneck_conv_v2(m: Any, x: Tensor) -> Tensor:
    y = ghost_conv_v2(m.conv[0], x)
    y = y if isinstance(m.conv[1], nn.Identity) else conv(m.conv[1], y)
    y = ghost_conv_v2(m.conv[2], y)
    strided = isinstance(m.shortcut, nn.Sequential)
    return y + (conv(m.shortcut[1], conv(m.shortcut[0], x)) if strided else x)


def regnet(m: Any, x: Tensor) -> Tensor:
    y = norm(m.bn1, plain(m.conv1, x)).clamp(min=0)
    y = norm(m.bn2, plain(m.conv2, y)).clamp(min=0)
    y = norm(m.bn3, plain(m.conv3, y))
    return (y + (x if m.downsample is None else chain(m.downsample, x))).clamp(min=0)


def stage(m: Any, x: Tensor) -> Tensor:
    first = regnet(m.base, x)
    costly, cheap = first[:, : m.raw_planes], first[:, m.raw_planes :]
    outputs = [first]
    for layer in m.layers:
        outputs.append(regnet(layer, outputs[-1] if len(outputs) > 1 else costly))
    mixed = chain(list(m.merge)[1:], torch.cat(outputs, 1).mean((2, 3), keepdim=True))
    cheap = (chain(m.cheap, cheap) + mixed).clamp(min=0)
    return regnet(m.end, torch.cat([outputs[-1], cheap], 1))


def gated(m: SqueezeExcite, gate: nn.Module) -> SqueezeExciteGated:
    copied = SqueezeExciteGated(8)
    copied.gate_fn = gate  # type: ignore[assignment]
    return copied


CASES: list[tuple[nn.Module, Callable[[Any, Tensor], Tensor]]] = [
    (GhostModule(8, 12), ghost_v1),
    (GhostModule(8, 13, 3), ghost_v1),
    (GhostModule(8, 17, ratio=3, dw_size=5), ghost_v1),
    (GhostModule(8, 12, 3, stride=2, relu=False), ghost_v1),
    (SqueezeExcite(8), squeeze),
    (gated(SqueezeExcite(8), nn.Hardsigmoid()), squeeze),
    (gated(SqueezeExcite(8), nn.Sigmoid()), squeeze_sigmoid),
    (GhostBottleneckV1(8, 24, 8), bottleneck(ghost_v1)),
    (GhostBottleneckV1(8, 18, 12, 5, 2, 0.25), bottleneck(ghost_v1)),
    (GhostBottleneckV1(8, 15, 13, 3, 1, 0.25), bottleneck(ghost_v1)),
    (GhostModuleV2(8, 13), ghost_v2),
    (GhostModuleV2(8, 13, mode="attn"), ghost_v2),
    (GhostModuleV2(8, 12, 3, stride=2, mode="attn"), ghost_v2),
    (GhostBottleneckV2(8, 24, 8, 3, 1, 0.0, 1), bottleneck(ghost_v2)),
    (GhostBottleneckV2(8, 18, 12, 5, 2, 0.25, 2), bottleneck(ghost_v2)),
    (GhostConvV2(8, 12, 3, 2, mode="attn"), ghost_conv_v2),
    (GhostConvV2(8, 12), ghost_conv_v2),
    (GhostConvBottleneckV2(8, 8), bottleneck_conv_v2),
    (GhostConvBottleneckV2(8, 12, 5, 2), bottleneck_conv_v2),
    (GhostModuleV3(8, 16), ghost_v3),
    (GhostModuleV3(8, 16, 3, dw_size=5, relu=False), ghost_v3),
    (GhostModuleV3(8, 13, mode=ATTENTION), ghost_v3),
    (GhostModuleV3(8, 12, 3, stride=2, mode=ATTENTION), ghost_v3),
    (GhostModuleV3(8, 18, 1, 3), ghost_v3),
    (GhostBottleneckV3(8, 24, 8), bottleneck(ghost_v3)),
    (GhostBottleneckV3(8, 18, 12, 5, 2, 0.25, 2), bottleneck(ghost_v3)),
    (RegNetBottleneck(8, 8), regnet),
    (RegNetBottleneck(8, 12, 2, 4), regnet),
    (GGhostStage(8, 12), stage),
    (GGhostStage(8, 16, 5, 2, 4), stage),
    (C2fGhostV1(8, 16, 2), c2f(bottleneck(ghost_v1))),
    (C2fGhostV2(8, 16, 2), c2f(bottleneck(ghost_v2))),
    (C2fGhostV3(8, 16, 2), c2f(bottleneck(ghost_v3))),
    (C2fGGhost(8, 16, 2), c2f(regnet)),
]
IDS = [f"{type(block).__name__}{index}" for index, (block, _) in enumerate(CASES)]


@pytest.mark.parametrize(("block", "reference"), CASES, ids=IDS)
def test_a_block_computes_its_formula(block: nn.Module, reference: Any) -> None:
    block = randomize(block).double()
    x = torch.randn((2, 8, 11, 14), generator=torch.Generator().manual_seed(1)).double()
    wanted = reference(block, x)
    assert wanted.std() > 0.01
    torch.testing.assert_close(block(x), wanted, rtol=1e-12, atol=1e-12)
    fused = fuse(block)
    torch.testing.assert_close(fused(x), wanted, rtol=1e-11, atol=1e-11)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())


@pytest.mark.parametrize("block", [block for block, _ in CASES], ids=IDS)
def test_a_block_is_put_together_from_its_parts(block: Block) -> None:
    """Also after folding, which is how some forks write their files."""
    for form in (block, fuse(block)):
        node = TreeWriter().node(form, "block")
        again = type(block).assemble(node, dict(form.named_children()))
        assert type(again) is type(block)
        assert not type(block).unknown(node)


@pytest.mark.parametrize("block", [GhostModuleV3(8, 16, 3), GhostBottleneckV3(8, 16, 12, 5, 2)])
def test_all_branches_become_one_convolution(block: nn.Module) -> None:
    def convs(module: nn.Module) -> int:
        return sum(isinstance(part, nn.Conv2d) for part in module.modules())

    small = fuse(block)
    assert convs(block) >= 8
    # Of a bottleneck: two for each Ghost module, one depthwise, two in the shortcut.
    assert convs(small) == (2 if isinstance(block, GhostModuleV3) else 7)


def test_a_ghost_module_is_as_wide_as_it_was_asked_to_be() -> None:
    x = torch.zeros(1, 8, 4, 4)
    assert GhostModule(8, 13)(x).shape[1] == 13
    assert GhostModule(8, 10, ratio=4)(x).shape[1] == 10
    # The training form of V3 does not cut where it does not gate; neither did the original.
    assert GhostModuleV3(8, 13).eval()(x).shape[1] == 14


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.1, 4), (4, 4), (5.9, 8), (6, 8), (18, 20), (17.9, 20), (672 * 0.25, 168)],
)
def test_widths_are_multiples_of_4(value: float, wanted: int) -> None:
    assert divisible_by_4(value) == wanted


WRONG: dict[str, tuple[Block, dict[str, Any], str]] = {
    "attention without its branch": (GhostModuleV2(8, 8), {"mode": "attn"}, "short_conv"),
    "a branch without attention": (
        GhostModuleV2(8, 8, mode="attn"), {"mode": "original"}, "short_conv"),
    "a mode unheard of": (GhostModuleV2(8, 8), {"mode": "dfc"}, "mode"),
    "too wide": (GhostModule(8, 8), {"oup": 9}, "9"),
    "another gate": (
        SqueezeExcite(8), {"gate_fn": {"function": "torch.nn.functional.sigmoid"}}, "hard_sigmoid"),
    "a gate after the interpolation": (
        GhostModuleV3(8, 8, mode=ATTENTION), {"gate_loc": "after"}, "gate_loc"),
    "branches that were merged": (GhostModuleV3(8, 8), {"infer_mode": True}, "primary_rpr_conv"),
    "no scale branch": (GhostModuleV3(8, 8), {"dconv_scale": False}, "dconv_scale"),
    "a stride without convolution": (GhostBottleneckV1(8, 8, 8), {"stride": 2}, "conv_dw"),
    "a V3 stride without convolution": (GhostBottleneckV3(8, 8, 8), {"stride": 2}, "dw_rpr_conv"),
    "nothing cheap": (GGhostStage(8, 8), {"raw_planes": 8}, "raw_planes"),
    "another stride": (RegNetBottleneck(8, 8), {"stride": 2}, "stride"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_parts_that_do_not_belong_together_are_refused(
    case: tuple[Block, dict[str, Any], str],
) -> None:
    block, change, message = case
    node = TreeWriter().node(block, "block")
    node = replace(node, attributes={**node.attributes, **change})
    with pytest.raises(MisfitError, match=message):
        type(block).assemble(node, dict(block.named_children()))


@pytest.mark.parametrize(
    "path", ["fork.ghostnetv2.hard_sigmoid", "torch.nn.functional.hardsigmoid", "hard_sigmoid"]
)
def test_a_named_gate_is_never_imported_but_known(path: str) -> None:
    block = SqueezeExcite(8)
    node = TreeWriter().node(block, "se")
    node = replace(node, attributes={"gate_fn": {"function": path}})
    again = SqueezeExcite.assemble(node, dict(block.named_children()))
    assert TreeWriter().node(again, "se").attributes == node.attributes


class FreeGate(nn.Module):
    """A user's class that has nothing of the name that the file has."""


class SetGate(nn.Module):
    gate_fn = staticmethod(functional.hardsigmoid)


def test_a_users_class_must_bring_the_function_that_the_file_only_names() -> None:
    node = ModuleNode("fork.Gate", {"gate_fn": {"function": "fork.hard_sigmoid"}, "width": 4})
    module = UserClass(SetGate).assemble(node, {})
    assert module.gate_fn is functional.hardsigmoid
    assert module.width == 4
    with pytest.raises(MisfitError, match="gate_fn = staticmethod"):
        UserClass(FreeGate).assemble(node, {})


def test_branches_may_have_names_but_not_every_name() -> None:
    leaf = TORCH_LAYERS["Sequential"]
    node = ModuleNode("torch.nn.modules.container.Sequential")
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(3, 3, 1), "bn": nn.BatchNorm2d(3)}
    assert [name for name, _ in leaf.assemble(node, parts).named_children()] == ["conv", "bn"]
    for names in (("0", "bn"), ("1", "0"), ("conv", "forward")):
        with pytest.raises(MisfitError):
            leaf.assemble(node, dict(zip(names, parts.values(), strict=True)))
