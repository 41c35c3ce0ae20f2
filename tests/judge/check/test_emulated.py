"""What this machine makes, on a processor without VNNI (Haswell, emulated by qemu-user)."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.calib.forms import FORMS, int8_form
from ghost_deploy.calib.quantize.overflow import saturating_convolution
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.runtimes.int8_forms import ort_form
from tests.support.checked_bundle import SIDE, checked_bundle
from tests.support.emulation import needs_qemu, run_on
from tests.support.fake_backends import LACKS_AVX

pytestmark = [
    needs_qemu,
    pytest.mark.skipif(ort_form() != "ort-x86", reason="x86 processors are emulated on x86"),
]

NCNN = ("ncnn",) if all(importlib.util.find_spec(name) for name in ("ncnn", "pnnx")) else ()
"""The format and the form, where they can be made."""

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


@pytest.mark.emulated
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


PIXELS = """
import sys
import numpy as np
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file

path, image = sys.argv[1:]
pixels = np.load(image)
floats = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
found = []
for pixel_input, tensor in ((True, pixels), (False, np.ascontiguousarray(floats))):
    options = RuntimeOptions(precision="int8", pixel_input=pixel_input)
    with open_file("openvino", path, options) as runtime:
        (output,) = runtime.run({"images": tensor}).values()
        found.append(output.copy())
print(np.ptp(found[0]) > 1, np.array_equal(*found))
"""


@pytest.mark.emulated
def test_int8_files_for_x86_are_right_and_those_for_vnni_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("emulated")
    forms = ("ort-x86", "openvino", "openvino-vnni", *NCNN)
    bundle: Bundle = checked_bundle(folder, forms)
    words = ["-m", "ghost_deploy.cli.main", "check", str(bundle.path), "--no-speed", "--json"]
    report = json.loads(run_on("haswell", words, folder / "emulation"))
    rows = {row["artifact"]: row for row in report["rows"]}
    assert rows["onnx-fp32"]["status"] == "verified"
    for artifact in ("onnx-int8-ort-x86", "openvino-int8", *[f"{each}-int8" for each in NCNN]):
        assert rows[artifact]["status"] == "verified", rows[artifact]["reasons"]
        # Of NCNN a value on the border of two levels is rounded the other way, with all like it.
        limit = 1e-2 if artifact.startswith("ncnn") else 1e-4
        assert rows[artifact]["parity"]["tensor"]["score"]["mean"] < limit
    unguarded = rows["openvino-int8-openvino-vnni"]
    assert unguarded["status"] == "skipped"
    assert "cannot run here" in unguarded["reasons"][0]
    program, image = folder / "pixels.py", folder / "pixels.npy"
    program.write_text(PIXELS)
    np.save(image, np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8))
    path = bundle.path / bundle.artifact("openvino", "int8", "openvino").path
    said = run_on("haswell", [str(program), str(path), str(image)], folder / "emulation")
    assert said.split() == ["True", "True"], "pixels and floats give different results"


LOADS = """
import json, sys
import numpy as np
import ghost_deploy as gd

guarded, old, file, image = sys.argv[1:]
pixels = np.load(image)

def found(model, check):
    try:
        with gd.load(model, "openvino", "int8" if model != file else None, check=check) as detector:
            return [float(score) for score in detector(pixels).score]
    except gd.GhostDeployError as error:
        return f"{type(error).__name__}: {error}"

runs = {"guarded": (guarded, True), "again": (guarded, True), "old": (old, True),
        "old unchecked": (old, False), "file": (file, False)}
print(json.dumps({name: found(*run) for name, run in runs.items()}))
"""


@pytest.mark.slow
def test_the_first_load_without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guarded OpenVINO file gives the detections of this machine; one that an older version made
    without the guard is refused, out of a bundle and alone, checked or not."""
    guarded = checked_bundle(tmp_path / "guarded", ("openvino",))
    row = int8_form("openvino")
    free = dataclasses.replace(row.convention, overflow_guard=False)
    monkeypatch.setitem(FORMS, row.name, dataclasses.replace(row, convention=free))  # type: ignore[arg-type]
    old = checked_bundle(tmp_path / "old", ("openvino",))
    file = old.path / old.artifact("openvino", "int8", "openvino").path
    pixels = make_scene(3).image
    np.save(tmp_path / "image.npy", pixels)
    with gd.load(guarded, "openvino", "int8", check=False) as detector:
        expected = [float(score) for score in detector(pixels).score]
    assert len(expected) > 2
    program = tmp_path / "loads.py"
    program.write_text(LOADS)
    words = [str(each) for each in (guarded.path, old.path, file, tmp_path / "image.npy")]
    said = json.loads(run_on("haswell", [str(program), *words], tmp_path / "emulation"))
    assert said["guarded"] == said["again"] == pytest.approx(expected, abs=1e-3)
    for name in ("old", "old unchecked", "file"):
        assert said[name].startswith("DeviceError"), name
        assert "for processors with VNNI" in said[name]
        assert "--for x86" in said[name]


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


FORMS_OF_TARGETS = ("ort-x86", "ort-arm", "openvino", "openvino-vnni", *NCNN)
"""What `--for x86,x86-vnni,arm64` makes for the CPU runtimes, but for `ort-x86-vnni`."""

CLI = ("-m", "ghost_deploy.cli.main")


@pytest.fixture(scope="module")
def whole_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """fp32, fp16 and int8 for both runtimes, made on this machine."""
    folder = tmp_path_factory.mktemp("whole")
    formats = ("onnx", "openvino", *NCNN)
    return checked_bundle(folder, FORMS_OF_TARGETS, formats, ("fp32", "fp16"))


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["nehalem", "haswell", "cortex-a72", "cortex-a76"])
def test_doctor_and_a_whole_bundle_on_each_processor(
    processor: str, whole_bundle: Bundle, tmp_path: Path
) -> None:
    """ARM needs a folder that keeps its system; it gets the answers, as `PROCESSOR.json`."""
    kept = os.environ.get("GHOST_DEPLOY_EMULATION", "")
    arm = processor.startswith("cortex")
    if arm and not kept:
        pytest.skip("GHOST_DEPLOY_EMULATION names no folder for Debian's system of ARM")
    cache = Path(kept) if kept else tmp_path / "emulation"
    doctor = _timed(processor, ["doctor", "--timeout", "1800", "--json"], cache)
    check = _timed(
        processor,
        ["check", str(whole_bundle.path), "--no-speed", "--json", "--timeout", "1800"],
        cache,
    )
    if kept:
        answers = json.dumps({"doctor": doctor, "check": check}, indent=1)
        (cache / f"{processor}.json").write_text(answers)
    found = {row["runtime"]: row for row in doctor["runtimes"]}
    for name in ("ort", "openvino", *NCNN):
        assert not found[name]["problem"]
        (cpu,) = (each for each in found[name]["devices"] if each["name"] == "cpu")
        assert {"fp32", "fp16"} <= set(cpu["precisions"])
        assert ("int8" in cpu["precisions"]) == (name != "openvino" or not arm)
    dot_product = {"cortex-a76": "SDOT", "cortex-a72": "none; int8 does not saturate"}
    assert doctor["int8_dot_product"].startswith(dot_product.get(processor, "none: int8 files"))
    own = {"onnx-int8-ort-arm"} if arm else {"onnx-int8-ort-x86", "openvino-int8"}
    own |= {f"{each}-int8" for each in NCNN}
    for row in check["rows"]:
        if row["precision"] == "bf16":
            continue  # where the processor has no such arithmetic it is skipped
        wanted = "verified" if row["precision"] != "int8" or row["artifact"] in own else "skipped"
        assert row["status"] == wanted, (row["artifact"], row["reasons"])


def _timed(processor: str, words: list[str], cache: Path) -> dict[str, Any]:
    """The document of a command on a processor, with the seconds that it took: of the clock, and of
    this machine's processor, which other work does not change."""
    started, before = time.monotonic(), os.times()
    said = run_on(processor, [*CLI, *words], cache, timeout_s=7200)
    wall_s, after = time.monotonic() - started, os.times()
    cpu_s = sum(after[2:4]) - sum(before[2:4])  # of the processes that were waited for
    return {**json.loads(said), "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)}
