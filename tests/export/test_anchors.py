"""Detectors with anchors as they are exported: graphs, NMS plugin, metadata, runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.export.efficient_nms import append_nms, with_nms
from ghost_deploy.export.metadata import model_info, onnx_properties
from ghost_deploy.export.nms_graph import append_graph_nms, with_graph_nms
from ghost_deploy.export.openvino import write_openvino
from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.processing.embedded_nms import embedded_nms
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.eager import EagerRuntime
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.runtimes.opener import open_path
from tests.export.test_efficient_nms import one_image
from tests.support.anchor_detectors import FOUR_LEVELS, anchor_net, anchor_spec
from tests.support.images import noisy_image, random_tensor
from tests.support.onnx_sessions import run_onnx

ONE_THREAD = RuntimeOptions(threads=1)
LOW = Thresholds(conf=0.02, iou=0.45)
VARIANTS: dict[str, dict[str, Any]] = {
    "two anchors": {},
    "four levels": {"anchors": FOUR_LEVELS, "focus": True},
    "one class": {"nc": 1},
}


def size_of(net: DetectionNet) -> tuple[int, int]:
    return (128, 192) if 64 in net.strides else (96, 160)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_graph_is_the_original_arithmetic(variant: dict[str, Any], dynamic: bool) -> None:
    net = anchor_net(**variant)
    spec = plan_spec(anchor_spec(net, size_of(net)), dynamic=dynamic)
    model = onnx_from_net(net, spec, "fp32")
    operators = {node.op_type for node in model.graph.node}
    assert operators <= TENSORRT_8_5
    assert dynamic or not operators & {"Shape", "Gather", "ConstantOfShape", "Range"}
    sizes = [spec.input.size_hw, spec.input.max_hw] if dynamic else [spec.input.size_hw]
    for height, width in sizes:
        image = random_tensor((2 if dynamic else 1, 3, height, width))
        wanted = net(torch.from_numpy(image)).numpy()
        (found,) = run_onnx(model, image)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-3, rtol=1e-4)


def test_the_file_says_its_layout() -> None:
    net = anchor_net()
    spec = plan_spec(anchor_spec(net), dynamic=True)
    output = onnx_from_net(net, spec, "fp32").graph.output[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in output.dim] == ["batch", "anchors", 8]
    assert spec.output_shape() == (-1, -1, 8)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_half_precision_decodes_in_float32() -> None:
    net = anchor_net()
    image = random_tensor((1, 3, 96, 160))
    (found,) = run_onnx(onnx_from_net(net, anchor_spec(net), "fp16"), image)
    wanted = net(torch.from_numpy(image)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - wanted)[..., 4:].max() < 0.01
    assert np.abs(found - wanted)[..., :2].max() < 0.2


def test_the_raw_form_decodes_to_the_same_boxes() -> None:
    net = anchor_net()
    spec = anchor_spec(net)
    raw = msgspec.structs.replace(
        spec, head=msgspec.structs.replace(spec.head, decoder="anchors-raw")
    )
    found = []
    for own in (spec, raw):
        graph = onnx_from_net(net, own, "fp32")
        image = noisy_image()
        found.append(Detector(runtime_of(graph, own), own, LOW)(image))
    assert len(found[0]) > 5
    np.testing.assert_array_equal(found[0].class_id, found[1].class_id)
    np.testing.assert_allclose(found[0].xyxy, found[1].xyxy, atol=1e-3)
    np.testing.assert_allclose(found[0].score, found[1].score, atol=1e-5)


def runtime_of(model: onnx.ModelProto, spec: ModelSpec) -> FakeRuntime:
    return FakeRuntime.for_spec(
        spec, lambda feeds: {"output0": run_onnx(model, feeds["images"])[0]}
    )


def test_the_plugin_gets_boxes_and_the_product_of_both_probabilities() -> None:
    net = anchor_net()
    spec = with_nms(anchor_spec(net))
    model = append_nms(onnx_from_net(net, anchor_spec(net), "fp32"), spec)
    names = {node.op_type for node in model.graph.node}
    assert "EfficientNMS_TRT" in names
    assert names - {"EfficientNMS_TRT"} <= TENSORRT_8_5
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 300, 6]
    image = random_tensor((1, 3, 96, 160))
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    plugin = next(node for node in cut.graph.node if node.op_type == "EfficientNMS_TRT")
    boxes, scores = (inputs_of(cut, name, image) for name in plugin.input)
    wanted = net(torch.from_numpy(image)).numpy()[0]
    np.testing.assert_allclose(boxes[0], wanted[:, :4], atol=2e-3, rtol=1e-4)
    product = wanted[:, 4:5] * wanted[:, 5:]
    np.testing.assert_allclose(scores[0].max(1), product.max(1), atol=1e-5)
    rows = one_image(boxes[0], scores[0], np.float32(0.01), np.float32(0.45), 300, False)
    reference = embedded_nms(wanted, spec, (96, 160))
    assert len(rows) == np.count_nonzero(reference[:, 4])
    np.testing.assert_allclose([row[1] for row in rows], reference[: len(rows), 4], atol=1e-5)


def inputs_of(model: onnx.ModelProto, name: str, image: Any) -> Any:
    """The value of a tensor of `model` in ONNX Runtime."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    at = next(i for i, node in enumerate(part.graph.node) if name in node.output)
    del part.graph.node[at + 1 :]
    del part.graph.output[:]
    part.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    return run_onnx(part, image)[0]


@pytest.mark.parametrize("agnostic", [False, True])
def test_nms_by_the_standard_operator_finds_what_the_host_finds(agnostic: bool) -> None:
    net = anchor_net()
    limits = Thresholds(iou=0.45, max_det=60, agnostic=agnostic)
    plain = anchor_spec(net, thresholds=limits)
    spec = with_graph_nms(plain)
    model = append_graph_nms(onnx_from_net(net, plain, "fp32"), spec)
    image = random_tensor((1, 3, 96, 160))
    (rows,) = run_onnx(model, image)[0]
    wanted = embedded_nms(net(torch.from_numpy(image)).numpy()[0], spec, (96, 160))
    assert rows.shape == wanted.shape == (60, 6)
    assert np.count_nonzero(wanted[:, 4]) > 10
    np.testing.assert_allclose(rows[:, 4], wanted[:, 4], atol=1e-5)
    assert np.abs(rows - wanted)[:, :4].max() < 0.05


def test_metadata_is_what_yolov5_reads_and_not_what_would_mislead_ultralytics() -> None:
    spec = anchor_spec(anchor_net())
    properties = onnx_properties(spec)
    assert properties["stride"] == "32"
    assert properties["names"] == "{0: 'a', 1: 'b', 2: 'c'}"
    assert not {"task", "head", "end2end", "args"} & properties.keys()
    assert model_info(spec) == {}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionNet, ModelSpec, list[Path]]:
    folder = tmp_path_factory.mktemp("anchors")
    net = anchor_net()
    spec = anchor_spec(net)
    onnx.save(onnx_from_net(net, spec, "fp32"), folder / "model.onnx")
    xml, *_ = write_openvino(folder / "model.onnx", folder / "m_openvino_model", spec, "fp32")
    return net, spec, [folder / "model.onnx", xml]


def test_a_bare_file_finds_the_same_boxes_in_every_runtime(
    files: tuple[DetectionNet, ModelSpec, list[Path]],
) -> None:
    net, spec, paths = files
    image = noisy_image()
    with Detector(EagerRuntime(net, spec.input, ONE_THREAD), spec, LOW) as reference:
        wanted = reference(image)
    assert len(wanted) > 5
    for path in paths:
        runtime, own = open_path(path, options=ONE_THREAD)
        assert own == spec
        with Detector(runtime, own, LOW) as detector:
            found = detector(image)
        np.testing.assert_array_equal(found.class_id, wanted.class_id)
        np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=0.05)
        np.testing.assert_allclose(found.score, wanted.score, atol=1e-4)
