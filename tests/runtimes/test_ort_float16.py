"""An ONNX Runtime that truncates float16 where it quantizes, and the results all the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.runtimes import ort, ort_float16
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.ort_float16 import truncates_float16

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SCALE = np.float16(0.0735)
SCALES = np.array([0.01, 0.5, 3.0], np.float16)
OPTIONS = RuntimeOptions(precision="int8", any_form=True)


def write_quantized(path: Path, form: str = "tensorrt-fp16") -> Path:
    """`x` (1, 3, H, W) quantized in float16, by one scale and then by one for each channel."""
    helper, dtype = onnx.helper, onnx.TensorProto
    zero, zeros = np.int8(0), np.zeros(3, np.int8)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=dtype.FLOAT16),
        helper.make_node("QuantizeLinear", ["half", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "ss", "zz"], ["q2"], axis=1),
        helper.make_node("DequantizeLinear", ["q2", "ss", "zz"], ["d2"], axis=1),
        helper.make_node("Cast", ["d2"], ["y"], to=dtype.FLOAT),
    ]
    values = {"s": np.array(SCALE), "z": np.array(zero), "ss": SCALES, "zz": zeros}
    shape = [1, 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype.FLOAT, shape)],
        [helper.make_tensor_value_info("y", dtype.FLOAT, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, {FORM_KEY: form})
    onnx.save(model, str(path))
    return path


def rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX says of the model."""

    def through(value: NDArray[np.float16], scale: Any) -> NDArray[np.float16]:
        steps = np.rint(value.astype(np.float64) / np.float64(scale)).clip(-128, 127)
        return (steps * np.float64(scale)).astype(np.float16)

    return through(through(x.astype(np.float16), SCALE), SCALES[:, None, None]).astype(np.float32)


class Truncating:
    """As much of the onnxruntime package as is asked, with the kernel of the old versions."""

    def InferenceSession(self, model: bytes, providers: list[str]) -> Truncating:
        onnx.checker.check_model(onnx.load_from_string(model))
        return self

    def run(self, names: None, feeds: dict[str, NDArray[np.float16]]) -> list[NDArray[np.int8]]:
        return [np.trunc(feeds["x"]).astype(np.int8)]


def test_truncation_is_recognized() -> None:
    assert truncates_float16(Truncating())


def test_the_version_decides_here() -> None:
    version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    if version < (1, 29) or version >= (1, 30):
        assert truncates_float16(onnxruntime) == (version < (1, 29))


@pytest.mark.parametrize("truncates", [None, True], ids=["as it is", "as if it truncated"])
def test_results_are_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncates: bool | None
) -> None:
    if truncates:
        monkeypatch.setattr(ort_float16, "truncates_float16", lambda _: True)
    path = write_quantized(tmp_path / "m.onnx")
    before = path.read_bytes()
    x = np.random.default_rng(0).uniform(-12, 12, (1, 3, 40, 50)).astype(np.float32)
    with ort.open_model(path, OPTIONS) as runtime:
        np.testing.assert_array_equal(runtime.run({"x": x})["y"], rounded(x))
        assert runtime.metadata()[FORM_KEY] == "tensorrt-fp16"
        noted = any("truncates float16" in note for note in runtime.info.notes)
    assert noted == truncates_float16(onnxruntime) or truncates
    assert path.read_bytes() == before


def test_without_onnx_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_quantized(tmp_path / "m.onnx")
    monkeypatch.setattr(ort_float16, "truncates_float16", lambda _: True)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnavailableError, match="pip install onnx"):
        ort.open_model(path, OPTIONS)


def test_other_forms_are_opened_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_float16, "truncates_float16", lambda _: pytest.fail("it was asked"))
    ort.open_model(write_quantized(tmp_path / "m.onnx", "tensorrt"), OPTIONS).close()
