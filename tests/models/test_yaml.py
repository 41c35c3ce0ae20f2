"""The zoo against the published sizes."""

from __future__ import annotations

import pytest
import torch

from ghost_deploy.errors import UsageError
from ghost_deploy.models.build import build, to_node
from ghost_deploy.models.flops import count_parameters, gflops
from ghost_deploy.models.yaml import build_zoo, parse, zoo_names

from .trees import randomize

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
STRIDES = {"-p2": (4, 8, 16, 32), "-p6": (8, 16, 32, 64), "ost": (8, 16, 32)}


def test_every_network_of_the_zoo_is_in_the_table() -> None:
    assert set(zoo_names()) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_zoo_has_the_published_sizes(name: str) -> None:
    net = build_zoo(name, device="meta")
    parameters, operations = PUBLISHED[name]
    assert count_parameters(net) == parameters
    assert gflops(net) == pytest.approx(operations, abs=0.07)
    assert net.strides == STRIDES[name[-3:]]
    assert net.nc == 80


def test_gflops_is_what_ultralytics_counts() -> None:
    # 8.4.190, `get_flops(DetectionModel("yolov8n-ghost.yaml"), 640)`.
    assert gflops(build_zoo("yolov8n-ghost", device="meta")) == pytest.approx(5.8030592, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["", "yolov8-ghost", "yolov8q-ghost", "yolov8n-ghost-p9", "../yolov8n-ghost", "n"]
)
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="yolov8n-ghost-p6"):
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
