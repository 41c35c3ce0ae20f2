"""What share of a network really ran in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from ghost_deploy.calib.executed import executed
from ghost_deploy.core.errors import BackendError, UsageError

SIDE = 16
FIRST, SECOND = 3 * 16 * 9, 16 * 16 * 1
"""Multiply-adds a pixel of the two convolutions below."""


def two_convolutions(*, quantized: bool) -> onnx.ModelProto:
    """3x3 with 16 channels in float, then 1x1 with 16 channels, in u8s8 if asked."""
    rng = np.random.default_rng(0)
    tensors = {
        "w1": rng.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "s": np.float32(0.05),
        "zu": np.uint8(128),
        "zi": np.int8(0),
        "w2": rng.normal(size=(16, 16, 1, 1)).astype(np.float32),
    }
    nodes = [helper.make_node("Conv", ["images", "w1"], ["a"], pads=[1, 1, 1, 1])]
    if quantized:
        nodes += [
            helper.make_node("QuantizeLinear", ["a", "s", "zu"], ["aq"]),
            helper.make_node("DequantizeLinear", ["aq", "s", "zu"], ["ad"]),
            helper.make_node("QuantizeLinear", ["w2", "s", "zi"], ["wq"]),
            helper.make_node("DequantizeLinear", ["wq", "s", "zi"], ["wd"]),
            helper.make_node("Conv", ["ad", "wd"], ["b"]),
            helper.make_node("QuantizeLinear", ["b", "s", "zu"], ["bq"]),
            helper.make_node("DequantizeLinear", ["bq", "s", "zu"], ["output0"]),
        ]
    else:
        nodes += [helper.make_node("Conv", ["a", "w2"], ["output0"])]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 16, "h", "w"])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(folder: Path, suffix: str, *, quantized: bool) -> Path:
    model = two_convolutions(quantized=quantized)
    path = folder / f"model{suffix}"
    if suffix == ".onnx":
        onnx.save(model, path)
    else:
        source = folder / "source.onnx"
        onnx.save(model, source)
        openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("quantized", [False, True])
def test_multiply_adds_are_counted_by_what_ran(
    tmp_path: Path, suffix: str, quantized: bool
) -> None:
    found = executed(saved(tmp_path, suffix, quantized=quantized), (SIDE, SIDE))
    assert found.macs == (FIRST + SECOND) * SIDE * SIDE
    assert found.int8_macs == (SECOND * SIDE * SIDE if quantized else 0)
    assert found.share == pytest.approx(SECOND / (FIRST + SECOND) if quantized else 0.0)
    assert sum(found.kernels.values()) == found.macs


@pytest.mark.parametrize(("name", "error"), [("model.pt", UsageError), ("no.onnx", BackendError)])
def test_a_file_that_cannot_be_run_is_refused(
    tmp_path: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        executed(tmp_path / name, (SIDE, SIDE))


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_graph_without_convolutions_has_no_share(tmp_path: Path, suffix: str) -> None:
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "t", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    if suffix == ".xml":
        openvino.save_model(openvino.convert_model(path), tmp_path / "model.xml")
        path = tmp_path / "model.xml"
    with pytest.raises(BackendError, match="no convolution"):
        executed(path, (8, 8))
