"""The zoo against the published sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ghost_deploy.core.errors import UsageError
from ghost_deploy.models.flops import count_parameters, gflops
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.tree_writer import to_node
from ghost_deploy.models.zoo_yaml import build_zoo, parse, zoo_names
from tests.models.test_zoo import SIZES
from tests.support.module_trees import randomize

# Published by Ultralytics for 80 classes at 640: parameters, GFLOPs, strides. The P2 figures of
# GFLOPs were published with up to 0.06 more than Ultralytics itself counts today.
PUBLISHED = {
    "yolov8n-ghost": (1_865_316, 5.8),
    "yolov8s-ghost": (5_960_072, 16.4),
    "yolov8m-ghost": (10_336_312, 32.7),
    "yolov8l-ghost": (14_277_872, 53.7),
    "yolov8x-ghost": (22_229_308, 83.3),
    "yolov8n-ghost-p2": (2_033_944, 13.8),
    "yolov8s-ghost-p2": (5_562_080, 25.1),
    "yolov8m-ghost-p2": (9_031_728, 42.8),
    "yolov8l-ghost-p2": (12_214_448, 69.1),
    "yolov8x-ghost-p2": (18_664_776, 103.3),
    "yolov8n-ghost-p6": (2_901_100, 5.8),
    "yolov8s-ghost-p6": (9_520_008, 16.4),
    "yolov8m-ghost-p6": (18_002_904, 34.4),
    "yolov8l-ghost-p6": (21_227_584, 55.3),
    "yolov8x-ghost-p6": (33_057_852, 85.7),
}

# What Ultralytics 8.4.190 counts for 80 classes at 640: parameters and GFLOPs of the stock
# networks. Its figures for v10 include both branches of the head, of which only one runs.
STOCK = {
    "yolov8n": (3_157_200, 8.8551),
    "yolov8s": (11_166_560, 28.8119),
    "yolov8m": (25_902_640, 79.3137),
    "yolov8l": (43_691_520, 165.7347),
    "yolov8x": (68_229_648, 258.537),
    "yolov10n": (2_775_520, 8.7994),
    "yolov10s": (8_128_272, 25.2277),
    "yolov10m": (16_576_768, 64.6087),
    "yolov10b": (20_574_384, 99.4681),
    "yolov10l": (25_888_688, 127.9894),
    "yolov10x": (31_808_960, 171.9898),
    "yolo11n": (2_624_080, 6.6733),
    "yolo11s": (9_458_752, 21.8363),
    "yolo11m": (20_114_688, 68.6431),
    "yolo11l": (25_372_160, 87.8511),
    "yolo11x": (56_966_176, 196.3151),
}
# Published with YOLOv10 (arXiv:2405.14458): millions of parameters and GFLOPs, with the
# one2many branch left out and the batch norms folded.
PUBLISHED_V10 = {
    "yolov10n": (2.3, 6.7),
    "yolov10s": (7.2, 21.6),
    "yolov10m": (15.4, 59.1),
    "yolov10b": (19.1, 92.0),
    "yolov10l": (24.4, 120.3),
    "yolov10x": (29.5, 160.4),
}
STRIDES = {"-p2": (4, 8, 16, 32), "-p6": (8, 16, 32, 64), "ost": (8, 16, 32)}


def test_every_network_of_the_zoo_is_in_the_table() -> None:
    assert set(zoo_names()) == {*PUBLISHED, *STOCK, *SIZES}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_zoo_has_the_published_sizes(name: str) -> None:
    net = build_zoo(name, device="meta")
    parameters, operations = PUBLISHED[name]
    assert count_parameters(net) == parameters
    assert gflops(net) == pytest.approx(operations, abs=0.07)
    assert net.strides == STRIDES[name[-3:]]
    assert net.nc == 80


@pytest.mark.parametrize("name", STOCK)
def test_stock_networks_have_the_sizes_of_the_original(name: str) -> None:
    net = build_zoo(name, device="meta")
    parameters, operations = STOCK[name]
    assert count_parameters(net) == parameters
    counted = gflops(net)
    if net.head.has_one2one:
        counted += counted - gflops(headless(net))
    assert counted == pytest.approx(operations, abs=1e-4)
    assert net.strides == (8, 16, 32)


@pytest.mark.parametrize("name", PUBLISHED_V10)
def test_v10_has_the_published_sizes_without_its_second_branch(name: str) -> None:
    net = fuse(build_zoo(name, device="meta"))
    left_out = count_parameters(net.head.cv2) + count_parameters(net.head.cv3)  # type: ignore[arg-type]
    parameters, operations = PUBLISHED_V10[name]
    assert (count_parameters(net) - left_out) / 1e6 == pytest.approx(parameters, abs=0.05)
    assert gflops(net) == pytest.approx(operations, abs=0.2)


def headless(net: DetectionNet) -> DetectionNet:
    """The network with a head that computes next to nothing."""
    bare = copy.deepcopy(net)
    for branches in (bare.head.cv2, bare.head.cv3):
        assert branches is not None
        for level, branch in enumerate(branches):
            branches[level] = Slice(branch[-1].out_channels)
    return bare


class Slice(nn.Module):
    """The first channels of a map, without arithmetic."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].expand(-1, self.width, -1, -1)


def test_gflops_is_what_ultralytics_counts() -> None:
    # 8.4.190, `get_flops(DetectionModel("yolov8n-ghost.yaml"), 640)`.
    assert gflops(build_zoo("yolov8n-ghost", device="meta")) == pytest.approx(5.8030592, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["", "yolov8-ghost", "yolov8q-ghost", "yolov8n-ghost-p9", "../yolov8n-ghost", "n"]
)
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"yolov8\[nsmlx\]-ghost-p6"):
        build_zoo(name)


def test_a_new_network_runs_and_survives_the_round_trip() -> None:
    net = randomize(build_zoo("yolov8n-ghost-p2", nc=2))
    node, tensors = to_node(net)  # type: ignore[arg-type]
    x = torch.rand((2, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x)
        assert y.shape == (2, 6, 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3)
        assert torch.equal(build(node, tensors)(x), y)


def test_copies_of_a_block_without_members_follow_each_other() -> None:
    rows = [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 3, "GhostBottleneck", [8]],
        [[-1], 1, "Detect", ["nc"]],
    ]
    net = parse(rows, (1.0, 1.0, 64), nc=1)
    assert len(net.model[1]) == 3
    net.check()
    assert net.strides == (2,)
