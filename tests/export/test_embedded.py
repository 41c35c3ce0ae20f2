"""Graphs that take uint8 pixels: the same numbers enter the network."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from ghost_deploy.core.bundle import BundleWriter
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.rewrite import Pixels
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.processing.preprocess import convert_input
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file
from tests.support.exports import export_artifacts
from tests.support.images import noisy_image
from tests.support.onnx_sessions import run_onnx
from tests.support.tiny_detectors import tiny_loaded, tiny_net, tiny_spec

PIXELS = np.random.default_rng(1).integers(0, 256, (1, 96, 128, 3), dtype=np.uint8)
PIXELS[0, 0, :128] = np.arange(128)[:, None]
PIXELS[0, 1, :128] = np.arange(128, 256)[:, None]


@pytest.mark.parametrize(
    "changes",
    [{}, {"color": "bgr"}, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}],
    ids=str,
)
def test_every_pixel_value_becomes_the_same_number(changes: dict[str, Any]) -> None:
    import torch

    numbers = InputSpec(size_hw=(96, 128), **changes)
    pixels = msgspec.structs.replace(numbers, layout="nhwc", dtype="uint8")
    got = Pixels(pixels)(torch.from_numpy(PIXELS)).numpy()
    np.testing.assert_array_equal(got, convert_input(PIXELS, pixels, numbers))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph(precision: str, dynamic: bool) -> None:
    plain = plan_spec(tiny_spec(), dynamic=dynamic)
    spec = plan_spec(tiny_spec(), dynamic=dynamic, embedded=True)
    model = onnx_from_net(tiny_net(), spec, precision)
    (taken,) = model.graph.input
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shape = [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim]
    assert shape == (["batch", "height", "width", 3] if dynamic else [1, 96, 128, 3])
    assert {node.op_type for node in model.graph.node} <= TENSORRT_8_5
    first = next(node for node in model.graph.node if "images" in node.input)
    assert first.op_type == "Cast", "TensorRT takes uint8 at the border of a network only"
    same = onnx_from_net(tiny_net(), plain, precision)
    expected = run_onnx(same, convert_input(PIXELS, spec.input, plain.input))
    np.testing.assert_array_equal(run_onnx(model, PIXELS), expected)


def test_a_bundle_of_pixels(tmp_path: Any) -> None:
    loaded: Any = tiny_loaded()
    with BundleWriter(tmp_path / "bundle") as writer:
        spec, artifacts = export_artifacts(loaded, writer, precisions=("fp32",), embedded=True)
        assert [artifact.options["input"] for artifact in artifacts] == ["uint8 pixels"] * 2
        writer.draft(spec, loaded.source, "test")
        bundle = writer.finish()
    image = noisy_image((70, 90))
    found = []
    for artifact, name in zip(bundle.artifacts, ("ort", "openvino"), strict=True):
        runtime = open_file(name, bundle.path / artifact.path, RuntimeOptions(threads=1))
        assert ModelSpec.from_json(runtime.metadata()[ModelSpec.Json]) == bundle.spec
        with Detector(runtime, bundle.spec) as detector:
            found.append(detector(image))
    assert len(found[0]) == len(found[1]) > 0
    # OpenVINO multiplies with the rounded reciprocal of 255.
    np.testing.assert_allclose(found[0].score, found[1].score, atol=1e-5)
