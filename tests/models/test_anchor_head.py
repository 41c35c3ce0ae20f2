"""The head with anchors: what it accepts, and its arithmetic against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.anchor_head import (
    YOLOV5_ANCHORS,
    AnchorDetect,
    ImplicitA,
    ImplicitM,
)
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.tree import ModuleNode, TensorInfo
from ghost_deploy.models.tree_writer import to_node
from ghost_deploy.models.yolov5_blocks import C3SPP, Contract, Expand
from tests.support.anchor_detectors import (
    FOUR_LEVELS,
    SIZE_HW,
    TWO_ANCHORS,
    anchor_net,
    anchor_spec,
    decode_in_float64,
)
from tests.support.assets import SHARED, needs_assets
from tests.support.module_trees import edit

VARIANTS: dict[str, dict[str, Any]] = {
    "two anchors": {},
    "YOLOv5's anchors": {"anchors": YOLOV5_ANCHORS},
    "four levels": {"anchors": FOUR_LEVELS, "focus": True},
    "one class, one anchor": {"nc": 1, "anchors": ((12.0, 16.0), (40.0, 33.0))},
    "focus": {"focus": True, "nc": 8},
}


def size_of(net: DetectionNet) -> tuple[int, int]:
    return (128, 192) if 64 in net.strides else SIZE_HW


def image_for(net: DetectionNet, batch: int = 2) -> Tensor:
    return torch.rand((batch, 3, *size_of(net)), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_boxes_objectness_and_classes_are_those_of_the_formula(variant: dict[str, Any]) -> None:
    net = anchor_net(**variant)
    spec, image = anchor_spec(net, size_of(net)), image_for(net)
    features = net.features(image)
    raw, found = net.head.raw(features).numpy(), net(image).numpy()
    assert found.shape == (2, spec.head.anchors(size_of(net)), 5 + net.nc)
    for one, wanted in zip(found, raw, strict=True):
        np.testing.assert_allclose(one, decode_in_float64(wanted, spec, size_of(net)), atol=2e-4)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_it_survives_the_round_trip_and_the_fusion(variant: dict[str, Any]) -> None:
    net = anchor_net(**variant)
    again = build(*to_node(net))
    image = image_for(net)
    assert torch.equal(again(image), net(image))
    assert anchor_spec(again, size_of(net)) == anchor_spec(net, size_of(net))
    torch.testing.assert_close(fuse(net)(image), net(image), atol=1e-3, rtol=1e-4)


def head_path(node: ModuleNode) -> str:
    return f"model.{len(node.children['model'].children) - 1}"


def with_buffer(name: str, values: Tensor) -> tuple[ModuleNode, dict[str, Tensor]]:
    """The tree of a network whose head has this buffer."""
    node, tensors = to_node(anchor_net())
    info = TensorInfo("added", "float32", tuple(values.shape))
    node = edit(node, head_path(node), lambda n: replace(n, buffers={**n.buffers, name: info}))
    return node, {**tensors, "added": values}


def pixels() -> Tensor:
    return torch.tensor(TWO_ANCHORS).view(3, 1, 2, 1, 1, 2)


def test_files_from_before_6_0_record_the_anchors_in_pixels_too() -> None:
    # Of half precision: 1/8 of 9.5 is exact there, the width that is looked at is not.
    exact = pixels() * 1.001
    net = build(*with_buffer("anchor_grid", exact))
    head = net.head
    assert isinstance(head, AnchorDetect)
    np.testing.assert_array_equal(np.array(head.anchor_sizes), exact.view(3, 2, 2).numpy())
    node, tensors = to_node(net)
    assert torch.equal(build(node, tensors)(image_for(net)), net(image_for(net)))


def attribute(**changes: Any) -> Callable[[ModuleNode], ModuleNode]:
    return lambda node: replace(node, attributes={**node.attributes, **changes})


def without_anchors(node: ModuleNode) -> ModuleNode:
    return replace(node, buffers={})


def without_convolutions(node: ModuleNode) -> ModuleNode:
    return replace(node, children={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_anchors, "'anchors' is missing"),
        (without_convolutions, "'m' is missing"),
        (attribute(nc=4), "no is 8, nc is 4"),
        (attribute(no=9, nc=4), "1x1 convolutions to 18"),
        (attribute(na=3), "must have the shape"),
        (attribute(nl=2), "strides|must have the shape"),
        (attribute(stride=[8.0, 16.0]), "3 levels"),
        (attribute(stride=[8.0, 16.0, 64.0]), "strides recorded"),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(
    change: Callable[[ModuleNode], ModuleNode], message: str
) -> None:
    node, tensors = to_node(anchor_net())
    with pytest.raises(StructureError, match=message):
        build(edit(node, head_path(node), change), tensors)


@pytest.mark.parametrize("factor", [1.05, -1.0, 0.0])
def test_anchors_that_contradict_each_other_or_have_no_size_are_refused(factor: float) -> None:
    with pytest.raises(StructureError, match="anchor"):
        build(*with_buffer("anchor_grid", pixels() * factor))


def implicit_net(nc: int = 3) -> DetectionNet:
    """With the head of YOLOv7: a learned vector before and behind each convolution."""
    net = anchor_net(nc)
    head = net.head
    assert isinstance(head, AnchorDetect)
    out = head.na * head.no
    head.ia = nn.ModuleList(ImplicitA(conv.in_channels) for conv in head.m)  # type: ignore[arg-type]
    head.im = nn.ModuleList(ImplicitM(out) for _ in head.m)
    for part in (*head.ia, *head.im):
        nn.init.normal_(part.implicit, 1.0, 0.3)  # type: ignore[arg-type]
    return net.requires_grad_(False)


def test_implicit_knowledge_is_added_before_and_multiplied_behind() -> None:
    net, image = implicit_net(), image_for(anchor_net())
    head = net.head
    assert isinstance(head, AnchorDetect)
    features = net.features(image)
    wanted = []
    for level, conv in enumerate(head.m):
        ahead, behind = head.ia[level].implicit, head.im[level].implicit  # type: ignore[index]
        wanted.append(behind * conv(ahead + features[level]))
    (found,) = head.logits(features)
    assert all(map(torch.equal, found, wanted))
    folded = fuse(net)
    assert folded.head.ia is None
    torch.testing.assert_close(folded(image), net(image), atol=1e-3, rtol=1e-4)
    assert torch.equal(build(*to_node(net))(image), net(image))


def test_the_only_class_of_yolov7_is_certain_but_that_of_yolov5_is_not() -> None:
    image = image_for(anchor_net())
    for net, certain in ((implicit_net(1), True), (anchor_net(1), False)):
        before = net(image)
        after = build(*to_node(net))(image)
        assert bool((after[..., 5] == 1).all()) == certain
        assert torch.equal(after[..., :5], before[..., :5])


def test_contract_and_expand_are_inverse_and_order_channels_as_yolov5() -> None:
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6)
    y = Contract(2)(x)
    assert y.shape == (2, 12, 2, 3)
    for row in range(2):
        for column in range(2):
            channels = y[:, (row * 2 + column) * 3 : (row * 2 + column) * 3 + 3]
            assert torch.equal(channels, x[:, :, row::2, column::2])
    assert torch.equal(Expand(2)(y), x)


def test_c3spp_pools_in_place_of_its_members() -> None:
    block = C3SPP(8, 8).eval()
    x = torch.rand(1, 8, 6, 6)
    wanted = block.cv3(torch.cat((block.m(block.cv1(x)), block.cv2(x)), 1))
    assert torch.equal(block(x), wanted)


@needs_assets
@pytest.mark.parametrize("name", ["v5n-ghost", "v5n6-ghost-model"])
def test_files_of_yolov5_are_what_their_repository_computes(name: str) -> None:
    path = SHARED / "forks" / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    loaded = load_checkpoint(path)
    recorded = np.load(path.with_suffix(".npz"))
    with torch.inference_mode():
        found = loaded.net(torch.from_numpy(recorded["x"]).float() / 255).numpy()[0]
    wanted = recorded["out"][0]
    scores = [rows[:, 4:5] * rows[:, 5:] for rows in (found, wanted)]
    sure = scores[1].max(1) > 0.05
    assert sure.sum() > 1000
    assert np.abs(found - wanted)[sure, :4].max() < 0.05
    assert np.abs(scores[0] - scores[1]).max() < 1e-4
    assert loaded.spec.family == "yolov5-ghost"
    assert (loaded.spec.thresholds.conf, loaded.spec.thresholds.iou) == (0.25, 0.45)
