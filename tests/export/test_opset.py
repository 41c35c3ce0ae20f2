"""Opsets of ONNX graphs: what is refused and why, and equal results in all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ghost_deploy import api
from ghost_deploy.calib.quantize.channels_last import to_channels_last
from ghost_deploy.calib.quantize.lint import lint
from ghost_deploy.calib.quantize.strongly_typed import to_strong_fp16
from ghost_deploy.core.errors import UsageError
from ghost_deploy.export.opset import IR_VERSIONS, check_opset
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.images import random_tensor
from tests.support.int8_forms import quantize
from tests.support.module_trees import randomize
from tests.support.onnx_sessions import run_onnx
from tests.support.small_graphs import statistics_of
from tests.support.tiny_detectors import tiny_net, tiny_spec
from tests.support.zoo_networks import spec_of

BOX_PX, SCORE = 0.05, 1e-4


@pytest.mark.parametrize(
    ("opset", "formats", "int8", "said"),
    [
        (0, ("onnx",), False, "older ones lack operators"),
        (11, ("onnx",), False, "older ones lack operators"),
        (14, (), False, "proved in these opsets alone"),
        (18, ("onnx",), False, "proved in these opsets alone"),
        (21, ("onnx",), False, "the exporter writes none newer"),
        (13, ("openvino",), False, "none is asked for"),
        (20, ("tensorrt",), False, "TensorRT 8.5 reads opsets up to 17"),
        (20, ("onnx", "tensorrt"), False, "TensorRT 8.5 reads opsets up to 17"),
        (12, ("onnx",), True, "no scale for each channel"),
        (20, ("onnx",), True, "int8 graphs for TensorRT 8.5"),
    ],
)
def test_what_is_refused_and_why(
    opset: int, formats: tuple[str, ...], int8: bool, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_opset(opset, formats, int8=int8)


@pytest.mark.parametrize(
    ("opset", "formats", "int8"),
    [
        (17, ("openvino",), True), (12, (), False), (20, ("onnx", "openvino"), False),
        (13, ("onnx",), True), (12, ("tensorrt",), False),
    ],
)  # fmt: skip
def test_what_is_accepted(opset: int, formats: tuple[str, ...], int8: bool) -> None:
    check_opset(opset, formats, int8=int8)


def test_nothing_is_read_before_an_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset 16"):
        api.export(tmp_path / "absent.pt", tmp_path / "b", ("onnx",), opset=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("opset", IR_VERSIONS)
def test_a_small_network_in_every_opset(opset: int, precision: str) -> None:
    net, spec = tiny_net(), tiny_spec()
    model = onnx_from_net(net, spec, precision, opset)
    (own,) = model.opset_import
    assert (own.version, model.ir_version) == (opset, IR_VERSIONS[opset])
    onnx.checker.check_model(model, full_check=True)
    x = torch.rand((1, 3, *spec.input.size_hw), generator=torch.Generator().manual_seed(1))
    wanted, got = net(x).numpy(), run_onnx(model, x.numpy())[0]
    scale = 1.0 if precision == "fp32" else 100.0
    np.testing.assert_allclose(got[:, :4], wanted[:, :4], rtol=0, atol=BOX_PX * scale)
    np.testing.assert_allclose(got[:, 4:], wanted[:, 4:], rtol=0, atol=SCORE * scale)


@pytest.mark.parametrize("form", ["ort-x86", "ort-arm", "tensorrt"])
def test_int8_forms_of_opset_13_compute_what_those_of_17_do(form: str) -> None:
    spec = tiny_spec()
    images = [random_tensor((1, 3, *spec.input.size_hw), seed) for seed in range(3)]
    outputs = []
    for opset in (13, 17):
        plain = onnx_from_net(tiny_net(), spec, "fp32", opset)
        model = quantize(plain, statistics_of(plain, images), form, method="minmax").model
        models = [to_channels_last(model) if form == "ort-x86" else model]
        if form == "tensorrt":
            assert lint(model) == []
            models.append(to_strong_fp16(model))
        outputs.append([run_onnx(each, images[0])[0] for each in models])
    for older, newer in zip(*outputs, strict=True):
        np.testing.assert_array_equal(older, newer)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [12, 13, 20])
@pytest.mark.parametrize(
    "name", ["yolov8n-ghost", "yolov8n-c2f-ghostbottleneck", "yolo11n-ghostnetv2", "yolov10n"]
)
def test_the_families_in_every_opset(name: str, opset: int) -> None:
    """The same nodes as in opset 17: every rewrite finds its pattern in all of them."""
    net = build_zoo(name, nc=3)
    randomize(net)
    spec = spec_of(net, (96, 96))
    model, usual = (onnx_from_net(net, spec, "fp32", each) for each in (opset, 17))
    assert sorted(node.op_type for node in model.graph.node) == sorted(
        node.op_type for node in usual.graph.node
    )
    x = torch.rand((1, 3, 96, 96), generator=torch.Generator().manual_seed(1))
    wanted, got = net(x).numpy(), run_onnx(model, x.numpy())[0]
    np.testing.assert_allclose(got[:, :4], wanted[:, :4], rtol=0, atol=BOX_PX)
    np.testing.assert_allclose(got[:, 4:], wanted[:, 4:], rtol=0, atol=SCORE)


@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("opset", [12, 13, 20])
@pytest.mark.parametrize("nms", [False, True])
def test_a_trained_detector_is_proved_in_every_opset(tmp_path: Path, opset: int, nms: bool) -> None:
    for path in val_images()[:2]:
        (tmp_path / path.name).symlink_to(path)
    made = api.export(
        GHOST, tmp_path / "b", ("onnx",), ("fp32", "fp16"), images=tmp_path, opset=opset, nms=nms
    )
    assert made.evidence.parity is not None
    assert made.evidence.parity.passed
    for artifact in made.artifacts:
        model = onnx.load(made.verified_path(artifact))
        assert model.opset_import[0].version == opset
        assert artifact.options["opset"] == str(opset)
