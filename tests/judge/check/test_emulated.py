"""What this machine makes, on a processor without VNNI (Haswell, emulated by qemu-user)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.calib.quantize.overflow import saturating_convolution
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.runtimes.int8_forms import ort_form
from tests.support.checked_bundle import checked_bundle
from tests.support.emulation import needs_qemu, run_on

pytestmark = [
    needs_qemu,
    pytest.mark.skipif(ort_form() != "ort-x86", reason="x86 processors are emulated on x86"),
]

PRODUCT = """
import sys
import numpy as np, onnxruntime
from onnx import TensorProto, helper, numpy_helper

with np.load(sys.argv[1]) as file:
    pixels, weights = file["pixels"], file["weights"]
graph = helper.make_graph(
    [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g",
    [helper.make_tensor_value_info("x", TensorProto.UINT8, pixels.shape)],
    [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
    [numpy_helper.from_array(weights, "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
np.save(sys.argv[2], session.run(None, {"x": pixels})[0])
"""


@pytest.mark.parametrize("limit", [127, 64])
def test_the_simulation_of_overflow_agrees_to_the_bit(limit: int, tmp_path: Path) -> None:
    """A 1x1 convolution whose sums overflow on purpose, and one within half the range.

    ONNX Runtime computes it as the product of pixels and weights, u8 by s8.
    """
    rng = np.random.default_rng(limit)
    image = rng.integers(200, 256, (32, 5, 7), np.uint8)
    levels = rng.integers(-limit, limit + 1, (8, 32, 1, 1)).astype(np.int8)
    pixels, weights = image.reshape(32, -1).T, levels[:, :, 0, 0].T
    np.savez(tmp_path / "case.npz", pixels=pixels.copy(), weights=weights.copy())
    script = tmp_path / "product.py"
    script.write_text(PRODUCT)
    words = [str(script), str(tmp_path / "case.npz"), str(tmp_path / "sums.npy")]
    run_on("haswell", words, tmp_path / "emulation")
    expected, saturated = saturating_convolution(image, levels)
    assert (saturated > 0) == (limit == 127)
    found = np.load(tmp_path / "sums.npy").T.reshape(expected.shape)
    assert np.array_equal(found, expected)


def test_int8_files_for_x86_are_right_and_those_for_vnni_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("emulated")
    forms = ("ort-x86", "openvino", "openvino-vnni")
    bundle: Bundle = checked_bundle(folder, forms)
    words = ["-m", "ghost_deploy.cli.main", "check", str(bundle.path), "--no-speed", "--json"]
    report = json.loads(run_on("haswell", words, folder / "emulation"))
    rows = {row["artifact"]: row for row in report["rows"]}
    assert rows["onnx-fp32"]["status"] == "verified"
    for artifact in ("onnx-int8-ort-x86", "openvino-int8"):
        assert rows[artifact]["status"] == "verified", rows[artifact]["reasons"]
        assert rows[artifact]["parity"]["tensor"]["score"]["mean"] < 1e-4
    assert "openvino-int8-openvino-vnni" not in rows
