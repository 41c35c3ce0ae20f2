"""What this machine makes, on a processor without VNNI (Haswell, emulated by qemu-user)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.calib.quantize.overflow import saturating_convolution
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.runtimes.int8_forms import ort_form
from tests.support.checked_bundle import checked_bundle
from tests.support.emulation import needs_qemu, run_on
from tests.support.fake_backends import LACKS_AVX

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
    unguarded = rows["openvino-int8-openvino-vnni"]
    assert unguarded["status"] == "skipped"
    assert "cannot run here" in unguarded["reasons"][0]


@pytest.mark.slow
def test_a_package_that_needs_avx_is_named_on_a_processor_without(tmp_path: Path) -> None:
    """A real instruction on a real decoder of instructions: Nehalem has SSE4.2 and no AVX."""
    bundle = checked_bundle(tmp_path, ())
    package = tmp_path / "fake" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(LACKS_AVX)
    program = tmp_path / "load.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(package.parent)!r})\n"
        "import ghost_deploy as gd\n"
        f"try:\n    gd.load({str(bundle.path)!r}, 'ort')\n"
        "except gd.UnavailableError as error:\n    print(error)\n"
    )
    said = run_on("nehalem", [str(program)], tmp_path / "emulation")
    assert "illegal instruction" in said
    assert "without avx, avx2, fma, avx512f" in said


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["nehalem", "haswell", "cortex-a72", "cortex-a76"])
def test_a_whole_bundle_on_each_processor(processor: str, tmp_path: Path) -> None:
    """fp32, fp16 and int8 on both runtimes; ARM needs a folder that keeps its system."""
    kept = os.environ.get("GHOST_DEPLOY_EMULATION", "")
    arm = processor.startswith("cortex")
    if arm and not kept:
        pytest.skip("GHOST_DEPLOY_EMULATION names no folder for Debian's system of ARM")
    forms = ("ort-x86", "ort-arm", "openvino", "openvino-vnni")
    bundle = checked_bundle(tmp_path, forms, ("onnx", "openvino"), ("fp32", "fp16"))
    words = ["-m", "ghost_deploy.cli.main", "check", str(bundle.path), "--no-speed", "--json"]
    cache = Path(kept) if kept else tmp_path / "emulation"
    limit = ["--timeout", "1200"]
    report = json.loads(run_on(processor, [*words, *limit], cache, timeout_s=7200))
    statuses = {
        (r["artifact"], r["precision"]): (r["status"], r["reasons"]) for r in report["rows"]
    }
    own = {"onnx-int8-ort-arm"} if arm else {"onnx-int8-ort-x86", "openvino-int8"}
    for (artifact, precision), (status, reasons) in statuses.items():
        if precision == "bf16":
            continue  # where the processor has no such arithmetic it is skipped
        wanted = "verified" if precision != "int8" or artifact in own else "skipped"
        assert status == wanted, (artifact, reasons)
