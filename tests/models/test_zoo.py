"""The forks of the zoo against the published sizes, and by how much those are missed.

Where a figure cannot be reached, `docs/zoo.md` says why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.flops import count_parameters, gflops
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.module_trees import edit
from tests.support.trained_like_weights import condition

# What is counted here for 80 classes at 640, before fusion: parameters and GFLOPs.
SIZES = {
    "yolo11l-ghostnetv1": (16_362_276, 39.54),
    "yolo11l-ghostnetv2": (17_336_676, 40.07),
    "yolo11l-ghostnetv3": (19_308_796, 44.54),
    "yolo11m-ghostnetv1": (13_121_572, 30.13),
    "yolo11m-ghostnetv2": (14_095_972, 30.66),
    "yolo11m-ghostnetv3": (16_068_092, 35.12),
    "yolo11n-ghostnetv1": (4_111_956, 6.10),
    "yolo11n-ghostnetv2": (5_086_356, 6.63),
    "yolo11n-ghostnetv3": (7_058_476, 11.10),
    "yolo11s-ghostnetv1": (7_636_964, 12.52),
    "yolo11s-ghostnetv2": (8_611_364, 13.05),
    "yolo11s-ghostnetv3": (10_583_484, 17.51),
    "yolo11x-ghostnetv1": (33_376_420, 84.93),
    "yolo11x-ghostnetv2": (34_350_820, 85.45),
    "yolo11x-ghostnetv3": (36_322_940, 89.92),
    "yolov10b-ghost": (13_686_032, 44.44),
    "yolov10l-ghost": (15_791_776, 51.11),
    "yolov10m-ghost": (11_426_536, 28.54),
    "yolov10n-ghost": (2_124_692, 4.62),
    "yolov10s-ghost": (6_645_688, 13.63),
    "yolov10x-ghost": (26_731_980, 86.15),
    "yolov5l-ghost": (16_019_117, 34.82),
    "yolov5m-ghost": (8_845_413, 19.50),
    "yolov5n-ghost": (1_049_217, 2.68),
    "yolov5s-ghost": (3_897_605, 8.88),
    "yolov5x-ghost": (25_588_445, 55.27),
    "yolov8l-c2f-gghost": (32_520_768, 113.21),
    "yolov8l-c2f-ghostbottleneck": (31_813_824, 109.81),
    "yolov8l-c2f-ghostbottleneckv2": (31_813_824, 109.81),
    "yolov8l-ghostnet": (29_555_920, 101.88),
    "yolov8m-c2f-gghost": (20_245_648, 58.48),
    "yolov8m-c2f-ghostbottleneck": (19_887_184, 57.12),
    "yolov8m-c2f-ghostbottleneckv2": (19_887_184, 57.12),
    "yolov8m-ghostnet": (18_310_504, 52.68),
    "yolov8n-c2f-gghost": (2_730_816, 7.62),
    "yolov8n-c2f-ghostbottleneck": (2_703_264, 7.54),
    "yolov8n-c2f-ghostbottleneckv2": (2_703_264, 7.54),
    "yolov8n-ghostnet": (2_502_908, 7.08),
    "yolov8s-c2f-gghost": (9_453_632, 23.83),
    "yolov8s-c2f-ghostbottleneck": (9_344_768, 23.50),
    "yolov8s-c2f-ghostbottleneckv2": (9_344_768, 23.50),
    "yolov8s-ghostnet": (8_525_496, 21.56),
    "yolov8x-c2f-gghost": (50_764_128, 176.37),
    "yolov8x-c2f-ghostbottleneck": (49_661_568, 171.08),
    "yolov8x-c2f-ghostbottleneckv2": (49_661_568, 171.08),
    "yolov8x-ghostnet": (46_119_188, 158.59),
}

# Published for one class, fused as Ultralytics does it: parameters, GFLOPs, and how many of the
# parameters belong to batch norms that a full fusion of these networks would have folded.
PUBLISHED_C2F = {
    "yolov8n-c2f-ghostbottleneck": (2_553_539, 6.8, 960),
    "yolov8n-c2f-ghostbottleneckv2": (2_553_539, 6.8, 960),
    "yolov8n-c2f-gghost": (2_581_091, 6.9, 960),
}


def fused_as_by_ultralytics(net: DetectionNet) -> DetectionNet:
    """A copy in which only the pairs inside of Conv blocks are folded, and no raw ones."""
    fused = copy.deepcopy(net)
    for module in fused.modules():
        if isinstance(module, Conv):
            module.fold()
    return fused


@pytest.mark.parametrize(
    "name",
    [name if "n-" in name else pytest.param(name, marks=pytest.mark.slow) for name in SIZES],
)
def test_a_fork_has_the_size_that_is_documented(name: str) -> None:
    net = build_zoo(name, device="meta")
    parameters, operations = SIZES[name]
    assert count_parameters(net) == parameters
    assert gflops(net) == pytest.approx(operations, abs=0.006)
    assert net.strides == (8, 16, 32)


def test_yolov8n_ghostnet_is_what_was_published() -> None:
    net = build_zoo("yolov8n-ghostnet", device="meta")
    assert count_parameters(net) == 2_502_908
    assert round(gflops(net), 1) == 7.1
    # Ultralytics counts modules, of which the one SiLU that all share counts once.
    modules = list(net.modules())
    assert len(modules) - sum(isinstance(module, nn.SiLU) for module in modules) + 1 == 323


@pytest.mark.parametrize("name", PUBLISHED_C2F)
def test_yolov8n_with_ghost_members_is_what_was_published(name: str) -> None:
    parameters, operations, unfolded = PUBLISHED_C2F[name]
    fused = fused_as_by_ultralytics(build_zoo(name, nc=1, device="meta"))
    assert count_parameters(fused) == parameters - unfolded
    assert round(gflops(fused), 1) == operations
    # What the publisher's fusion left: weight and bias of a batch norm of the width 2c for each
    # of the four hosts.
    hosts = [layer for layer in list(fused.model)[:9] if hasattr(layer, "m")]
    assert sum(2 * host.cv1.out_channels for host in hosts) == unfolded  # type: ignore[union-attr,operator]


def test_yolo11m_on_ghostnetv2_is_smaller_than_was_published() -> None:
    net = fuse(build_zoo("yolo11m-ghostnetv2", nc=1, device="meta"))
    stock = fuse(build_zoo("yolo11m", nc=1, device="meta"))
    published, published_stock = (19.0, 47.2), (20.0, 67.6)
    measured = (count_parameters(net) / 1e6, gflops(net))
    assert (count_parameters(stock) / 1e6, gflops(stock)) == pytest.approx(published_stock, abs=0.2)
    assert published[0] - measured[0] == pytest.approx(5.0, abs=0.05)
    assert published[1] - measured[1] == pytest.approx(17.4, abs=0.1)


def test_v3_is_v2_once_its_branches_are_merged() -> None:
    second = fuse(build_zoo("yolo11n-ghostnetv2", device="meta"))
    third = fuse(build_zoo("yolo11n-ghostnetv3", device="meta"))
    assert count_parameters(second) == count_parameters(third)
    assert gflops(second) == gflops(third)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_backbone_survives_the_round_trip(version: int) -> None:
    net = condition(build_zoo(f"yolo11n-ghostnetv{version}", nc=2))
    node, tensors = to_node(net)
    assert [layer.get("i") for layer in node.children["model"].children.values()][:3] == [4, 5, 6]
    again = build(node, tensors)
    assert again.layer_inputs == net.layer_inputs
    assert again.state_dict().keys() == net.state_dict().keys()


def sets(**changes: Any) -> Callable[[ModuleNode], ModuleNode]:
    return lambda node: replace(node, attributes={**node.attributes, **changes})


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        ("model.0", sets(width_list=[24, 40, 80, 160]), "returns other maps"),
        ("model.0", sets(width_list=[]), "width_list"),
        ("model.0", sets(width_list=[8, 16, 24, 40, 112, 160]), "width_list"),
        ("model.0", sets(backbone=1), "records another position|backbone"),
        ("model.0", sets(i=0), "records another position"),
        ("model.0", sets(f=3), "not before it"),
        ("model.4", sets(f=[-1, 0]), "no layer gives"),
        ("model.4", sets(f=[-1, 2]), "does not fit"),
    ],
)
def test_a_backbone_that_gives_other_maps_is_refused(
    layer: str, change: Callable[[ModuleNode], ModuleNode], message: str
) -> None:
    node, tensors = to_node(build_zoo("yolo11n-ghostnetv1", nc=2))
    with pytest.raises(StructureError, match=message):
        build(edit(node, layer, change), tensors)
