"""All torch layers survive a round trip through plain data; hostile attributes are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.load_weights import load_weights
from ghost_deploy.models.torch_layers import TORCH_LAYERS
from ghost_deploy.models.tree import ModuleNode, TensorInfo
from ghost_deploy.models.tree_writer import TreeWriter
from tests.support.module_trees import randomize

LAYERS = [
    nn.Conv2d(4, 6, (1, 5), 2, (0, 2), dilation=(1, 2), groups=2, bias=False),
    nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"),
    nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
    nn.BatchNorm2d(4, eps=1e-3, momentum=0.03),
    nn.BatchNorm2d(4, affine=False, momentum=None),
    nn.Linear(8, 3),
    nn.Linear(8, 3, bias=False),
    nn.SiLU(inplace=True),
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Mish(),
    nn.LeakyReLU(0.1),
    nn.ELU(0.5),
    nn.GELU("tanh"),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softmax(1),
    nn.Identity(),
    nn.Dropout(0.3),
    nn.Dropout2d(0.3),
    nn.Flatten(),
    nn.MaxPool2d(5, 1, 2),
    nn.AvgPool2d((2, 2), count_include_pad=False),
    nn.AdaptiveAvgPool2d((1, None)),
    nn.AdaptiveMaxPool2d(2),
    nn.AdaptiveAvgPool1d(1),
    nn.AdaptiveMaxPool1d(2),
    nn.AlphaDropout(0.3),
    nn.AvgPool1d(3, 1, 1),
    nn.AvgPool3d((1, 2, 2)),
    nn.BatchNorm1d(4),
    nn.BatchNorm3d(4),
    nn.CELU(0.5),
    nn.ConstantPad2d(1, 0.5),
    nn.Conv1d(4, 6, 3, padding=1, bias=False),
    nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)),
    nn.ConvTranspose1d(4, 6, 2, 2),
    nn.Dropout1d(0.3),
    nn.Dropout3d(0.3),
    nn.GLU(1),
    nn.GroupNorm(2, 4, affine=False),
    nn.GroupNorm(2, 4, eps=1e-3),
    nn.Hardtanh(0, 6),
    nn.InstanceNorm1d(4),
    nn.InstanceNorm2d(4, affine=True),
    nn.LayerNorm((8, 8)),
    nn.LayerNorm(8, bias=False),
    nn.LogSigmoid(),
    nn.MaxPool1d(3, 1, 1),
    nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1)),
    nn.ModuleDict({"first": nn.Conv2d(4, 4, 1)}),
    nn.PReLU(4),
    nn.PixelShuffle(2),
    nn.PixelUnshuffle(2),
    nn.ReflectionPad2d((1, 2, 0, 1)),
    nn.ReplicationPad2d(1),
    nn.SELU(),
    nn.Softmax2d(),
    nn.Softplus(2),
    nn.Softsign(),
    nn.UpsamplingBilinear2d(scale_factor=2),
    nn.UpsamplingNearest2d((5, 7)),
    nn.ZeroPad2d((0, 1, 0, 1)),
    nn.Upsample(None, 2, "nearest"),
    nn.Upsample((5, 7), mode="bilinear", align_corners=True),
    nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()),
    nn.ModuleList([nn.Conv2d(4, 4, 1)]),
]


def assemble(node: ModuleNode) -> nn.Module:
    children = {name: assemble(child) for name, child in node.children.items()}
    return TORCH_LAYERS[node.class_name].assemble(node, children)


def test_every_leaf_of_the_table_is_tested() -> None:
    assert {type(layer).__name__ for layer in LAYERS} == set(TORCH_LAYERS)


def shape_for(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return (2, 8)
    sizes = {"1d": (2, 4, 8), "3d": (2, 4, 2, 8, 8)}
    return sizes.get(type(layer).__name__[-2:], (2, 4, 8, 8))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_survives_the_round_trip(layer: nn.Module) -> None:
    layer = randomize(layer)
    writer = TreeWriter()
    node = writer.node(layer, "layer")
    again = assemble(node)
    assert all(tensor.is_meta for tensor in again.state_dict().values())
    load_weights(again, node, writer.tensors)
    again.eval()
    assert repr(again) == repr(layer)
    assert TreeWriter().node(again, "layer") == node
    if not isinstance(layer, nn.ModuleList | nn.ModuleDict):
        shape = shape_for(layer)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again(x), layer(x))


def infos(**shapes: tuple[int, ...]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, "float32", shape) for name, shape in shapes.items()}


CONV = TreeWriter().node(nn.Conv2d(4, 6, 3, groups=2), "conv")
NORM = TreeWriter().node(nn.BatchNorm2d(4), "norm")
UPSAMPLE = TreeWriter().node(nn.Upsample(None, 2, "nearest"), "up")
POOL = TreeWriter().node(nn.MaxPool2d(2), "pool")


@pytest.mark.parametrize(
    ("node", "attribute", "value"),
    [
        (CONV, "kernel_size", [3, 10**9]),
        (CONV, "kernel_size", [3, 5]),
        (CONV, "kernel_size", 0),
        (CONV, "kernel_size", "3"),
        (CONV, "stride", [-1, -1]),
        (CONV, "stride", 0),
        (CONV, "padding", [-1, 0]),
        (CONV, "padding", "samesame"),
        (CONV, "dilation", [0, 1]),
        (CONV, "groups", 3),
        (CONV, "groups", 0),
        (CONV, "in_channels", 8),
        (CONV, "in_channels", 2**40),
        (CONV, "out_channels", -6),
        (CONV, "padding_mode", "__import__"),
        (CONV, "padding_mode", None),
        (NORM, "eps", float("nan")),
        (NORM, "eps", 0),
        (NORM, "eps", -1e-3),
        (NORM, "num_features", 5),
        (NORM, "affine", False),
        (NORM, "track_running_stats", False),
        (UPSAMPLE, "scale_factor", 1e9),
        (UPSAMPLE, "scale_factor", float("inf")),
        (UPSAMPLE, "scale_factor", [2, 2, 2]),
        (UPSAMPLE, "mode", "trilinear"),
        (UPSAMPLE, "size", [10**6, 10**6]),
        (POOL, "return_indices", True),
        (POOL, "kernel_size", [[2, 2], 2]),
    ],
)
def test_a_hostile_attribute_is_refused(node: ModuleNode, attribute: str, value: Any) -> None:
    bad = replace(node, attributes={**node.attributes, attribute: value})
    with pytest.raises(MisfitError):
        assemble(bad)


@pytest.mark.parametrize(
    "bad",
    [
        replace(CONV, attributes={}),
        replace(CONV, parameters={}),
        replace(CONV, parameters={**CONV.parameters, "alpha": TensorInfo("a", "float32", (1,))}),
        replace(CONV, parameters=infos(weight=(6, 2, 3, 4), bias=(6,))),
        replace(CONV, parameters=infos(weight=(6, 2, 3, 3), bias=())),
        replace(CONV, buffers=infos(mask=(1,))),
        replace(CONV, children={"inner": POOL}),
        replace(NORM, buffers={}),
        ModuleNode("torch.nn.Sequential", children={"1": POOL}),
        ModuleNode("torch.nn.Sequential", children={"a": POOL, "1": POOL}),
        ModuleNode("torch.nn.Sequential", children={"forward": POOL}),
        ModuleNode("torch.nn.ModuleList", children={"a": POOL}),
        ModuleNode("torch.nn.ModuleList", parameters=infos(weight=(1,))),
    ],
)
def test_wrong_parts_are_refused(bad: ModuleNode) -> None:
    with pytest.raises(MisfitError):
        assemble(bad)


def test_attributes_that_old_files_lack_have_torchs_meaning() -> None:
    node = ModuleNode("torch.nn.Upsample", {"scale_factor": 2.0, "mode": "nearest"})
    assert repr(assemble(node)) == repr(nn.Upsample(None, 2.0, "nearest"))
