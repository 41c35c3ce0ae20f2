"""All networks of the zoo, exported and compared with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.export.openvino import write_openvino
from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.judge.parity.gate import GATES
from ghost_deploy.judge.parity.output_forms import scored
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo, zoo_names
from tests.support.onnx_sessions import run_onnx
from tests.support.trained_like_weights import condition
from tests.support.zoo_networks import spec_of, zoo_net

GATE = GATES["fp32"]
CLASSES = 3
# Square, and as wide as no map of the deepest stride is even: a gate of GhostNetV2 is then
# repeated by a factor that is no whole number.
SIZES = ((128, 128), (96, 160))
FAST = (
    "yolo11n-ghostnetv1",
    "yolo11n-ghostnetv2",
    "yolo11n-ghostnetv3",
    "yolov10n-ghost",
    "yolov5n-ghost",
    "yolov8n-c2f-gghost",
    "yolov8n-c2f-ghostbottleneckv2",
    "yolov8n-ghostnet",
)
OBLONG = ("yolo11n-ghostnetv2", "yolov5n-ghost", "yolov8n-ghostnet")
SLOW = tuple(name for name in zoo_names() if name not in FAST)


def sizes_of(net: DetectionNet) -> list[tuple[int, int]]:
    """The sizes, twice as large where the deepest stride is 64."""
    factor = max(net.strides) // 32
    return [(height * factor, width * factor) for height, width in SIZES]


def image_of(size_hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand((1, 3, *size_hw), generator=torch.Generator().manual_seed(7))


def run_openvino(path: Path, image: torch.Tensor) -> NDArray[Any]:
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.asarray(openvino.Core().compile_model(path, "CPU", config)(image.numpy())[0])


def require_parity(
    got: NDArray[Any], wanted: NDArray[Any], what: str, decoder: str = "dfl"
) -> None:
    if decoder == "anchors":
        got, wanted = (np.stack([scored(one) for one in each]) for each in (got, wanted))
    sure = wanted[:, 4:].max(1) > 0.05
    assert sure.sum() > 20, f"{what}: only {sure.sum()} anchors score above 0.05"
    difference = np.abs(got - wanted).transpose(0, 2, 1)[sure]
    assert difference[:, :4].max() <= GATE.max_raw_box_px, what
    assert difference[:, 4:].max() <= GATE.max_raw_score, what


def require_static(model: ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert operators <= TENSORRT_8_5
    assert not operators & {"Shape", "Gather", "ConstantOfShape", "If", "Loop"}
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Resize":
            assert all(name in weights for name in node.input[1:] if name), "a size is computed"


def check(name: str, size_hw: tuple[int, int], folder: Path) -> None:
    net = zoo_net(name)
    spec, image = spec_of(net, size_hw), image_of(size_hw)
    with torch.no_grad():
        wanted = net(image).numpy()
    model = onnx_from_net(net, spec, "fp32")
    require_static(model)
    require_parity(run_onnx(model, image.numpy())[0], wanted, "ONNX", spec.head.decoder)
    source = folder / "model.onnx"
    onnx.save(model, source)
    xml, *_ = write_openvino(source, folder / "m_openvino_model", spec, "fp32")
    require_parity(run_openvino(xml, image), wanted, "OpenVINO", spec.head.decoder)


@pytest.mark.parametrize(
    ("name", "which"),
    [
        *((name, 0) for name in FAST),
        *((name, 1) for name in OBLONG),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in FAST if name not in OBLONG),
    ],
)
def test_a_small_network_of_the_zoo_is_exported_exactly(
    name: str, which: int, tmp_path: Path
) -> None:
    check(name, sizes_of(zoo_net(name))[which], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["square", "oblong"])
@pytest.mark.parametrize("name", SLOW)
def test_another_network_of_the_zoo_is_exported_exactly(
    name: str, which: int, tmp_path: Path
) -> None:
    check(name, sizes_of(zoo_net(name))[which], tmp_path)


def test_the_end_to_end_form_of_a_ghost_v10_has_the_same_scores() -> None:
    net = condition(build_zoo("yolov10n-ghost", nc=CLASSES))
    net.branch = "one2one"
    image = image_of(SIZES[1])
    model = onnx_from_net(net, spec_of(net, SIZES[1], "one2one"), "fp32")
    require_static_but_for_top_k(model)
    with torch.no_grad():
        wanted = net(image).numpy()
    got = run_onnx(model, image.numpy())[0]
    assert got.shape == wanted.shape == (1, 300, 6)
    np.testing.assert_allclose(got[..., 4], wanted[..., 4], rtol=0, atol=GATE.max_raw_score)


def require_static_but_for_top_k(model: ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert operators <= TENSORRT_8_5
    assert "TopK" in operators
    assert not operators & {"Shape", "ConstantOfShape", "If", "Loop"}
