"""Behaviour specific to OpenVINO: precision obtained, and no stale model from the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.bundle import FORM_KEY, GUARD, GUARD_KEY
from ghost_deploy.core.errors import BackendError, DeviceError
from ghost_deploy.runtimes import int8_forms, openvino_devices
from ghost_deploy.runtimes import openvino as ov
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.dot_product import DotProduct
from ghost_deploy.runtimes.openvino_devices import DeviceChoice, choose_device
from ghost_deploy.runtimes.table import open_file
from tests.support.runtime_cases import expected, random_images, write_ir

openvino = pytest.importorskip("openvino")

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ir(tmp_path_factory.mktemp("ir") / "model.xml")


class Core:
    """As much of an OpenVINO core as the choice of device and arithmetic looks at."""

    def __init__(self, devices: list[str], capabilities: list[str]) -> None:
        self.available_devices = devices
        self._capabilities = capabilities

    def get_property(self, device: str, name: str) -> list[str]:
        return self._capabilities


FULL = Core(["CPU", "GPU.0", "GPU.1", "NPU"], ["FP32", "FP16", "BF16", "INT8"])
PLAIN = Core(["CPU"], ["FP32", "INT8"])


@pytest.mark.parametrize(
    ("core", "device", "precision", "expected"),
    [
        (PLAIN, "cpu", "", ("CPU", "f32", "")),
        (PLAIN, "cpu", "fp32", ("CPU", "f32", "fp32")),
        (PLAIN, "cpu", "fp16", ("CPU", "f32", "fp16")),
        (PLAIN, "cpu", "int8", ("CPU", "f32", "int8")),
        (FULL, "cpu", "fp32", ("CPU", "f32", "fp32")),
        (FULL, "cpu", "bf16", ("CPU", "bf16", "bf16")),
        (FULL, "gpu", "fp32", ("GPU", "f32", "fp32")),
        (FULL, "gpu", "fp16", ("GPU", "f16", "fp16")),
        (FULL, "npu", "fp16", ("NPU", "f16", "fp16")),
    ],
)
def test_the_arithmetic_of_a_precision(
    core: Core, device: str, precision: str, expected: tuple[str, str, str]
) -> None:
    choice = choose_device(core, RuntimeOptions(device, precision))
    assert (choice.device, choice.hint, choice.precision) == expected


@pytest.mark.parametrize(
    ("core", "device", "precision", "message", "instead"),
    [
        (PLAIN, "gpu", "fp32", "only CPU here.*intel-opencl-icd", ("CPU", "f32", "fp32")),
        (PLAIN, "npu", "fp16", "only CPU here", ("CPU", "f32", "fp16")),
        (PLAIN, "cuda", "", "--runtime ort", ("CPU", "f32", "")),
        (PLAIN, "cpu", "bf16", "no bf16 arithmetic", ("CPU", "f32", "fp32")),
        (FULL, "npu", "fp32", "no fp32 arithmetic", ("NPU", "f16", "fp16")),
        (FULL, "gpu", "bf16", "no bf16 arithmetic", ("GPU", "f32", "fp32")),
    ],
)
def test_what_is_not_there(
    core: Core, device: str, precision: str, message: str, instead: tuple[str, str, str]
) -> None:
    with pytest.raises(DeviceError, match=message):
        choose_device(core, RuntimeOptions(device, precision))
    choice = choose_device(core, RuntimeOptions(device, precision, allow_fallback=True))
    assert (choice.device, choice.hint, choice.precision) == instead
    assert "fell back" in choice.notes[0]


def test_fp32_runs_in_f32_everywhere(model: Path) -> None:
    with ov.open_model(model, RuntimeOptions(precision="fp32")) as runtime:
        assert runtime.info.compute == "f32"
        executed = {
            str(node.get_rt_info()["runtimePrecision"].value)
            for node in runtime._compiled.get_runtime_model().get_ops()
            if "runtimePrecision" in node.get_rt_info()
        }
    assert "f32" in executed
    assert not executed & {"bf16", "f16"}


def test_fp16_on_a_cpu_says_how_it_computes(model: Path) -> None:
    with open_file("openvino", model, RuntimeOptions(precision="fp16")) as runtime:
        assert (runtime.info.precision, runtime.info.compute) == ("fp16", "f32")
        assert runtime.info.notes == ("weights are stored in fp16, computed in f32",)


@pytest.mark.skipif(HAS_BF16, reason="this CPU has bf16")
def test_bf16_on_a_cpu_without_it(model: Path) -> None:
    with pytest.raises(DeviceError, match="no bf16 arithmetic") as caught:
        open_file("openvino", model, RuntimeOptions(precision="bf16"))
    assert caught.value.exit_code == 3
    options = RuntimeOptions(precision="bf16", allow_fallback=True)
    with open_file("openvino", model, options) as runtime:
        assert (runtime.info.precision, runtime.info.compute) == ("fp32", "f32")
        images = random_images()
        got = runtime.run({"images": images})["output0"]
        np.testing.assert_allclose(got, expected(images), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")
def test_bf16_on_a_cpu_with_it(model: Path) -> None:
    with open_file("openvino", model, RuntimeOptions(precision="bf16")) as runtime:
        assert (runtime.info.precision, runtime.info.compute) == ("bf16", "bf16")


def test_a_precision_that_was_not_obtained(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without f16 silently ignores that hint; the property read back shows it."""
    choice = DeviceChoice("CPU", "f16", "fp16", ())
    monkeypatch.setattr(ov, "choose_device", lambda core, options: choice)
    with pytest.raises(DeviceError, match=r"computes on CPU in (f32|bf16)"):
        open_file("openvino", model, RuntimeOptions(precision="fp16"))


@pytest.mark.parametrize("hint", ["latency", "throughput", "once"])
def test_hints(model: Path, hint: Any) -> None:
    with ov.open_model(model, RuntimeOptions(hint=hint, threads=1)) as runtime:
        expected = "THROUGHPUT" if hint == "throughput" else "LATENCY"
        assert runtime._compiled.get_property("PERFORMANCE_HINT") == expected
        assert runtime.info.threads == 1


def test_a_container_s_quota_limits_the_threads(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_devices, "cpu_quota", lambda: 1)
    monkeypatch.setattr(openvino_devices, "available_cores", lambda: 1)
    with ov.open_model(model, RuntimeOptions()) as runtime:
        assert runtime.info.threads == 1


def test_missing_weights(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "model.xml")
    path.with_suffix(".bin").unlink()
    with pytest.raises(BackendError, match=r"model\.xml"):
        open_file("openvino", path)


# The model cache


def loaded_from_cache(runtime: ov.OvRuntime) -> bool:
    return bool(runtime._compiled.get_property("LOADED_FROM_CACHE"))


def test_the_cache_is_used(model: Path, tmp_path: Path) -> None:
    options = RuntimeOptions(cache_dir=tmp_path / "deep" / "cache")
    images = random_images()
    for again in (False, True):
        with ov.open_model(model, options) as runtime:
            assert loaded_from_cache(runtime) is again
            assert (runtime.info.compute, runtime.info.notes) == ("f32", ())
            got = runtime.run({"images": images})["output0"]
            np.testing.assert_allclose(got, expected(images), rtol=1e-5, atol=1e-5)


def test_other_weights_at_the_same_place_and_time_are_another_model(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "model.xml")
    weights = path.with_suffix(".bin")
    options = RuntimeOptions(cache_dir=tmp_path / "cache")
    images = random_images()

    def run() -> Any:
        for file in (path, weights):
            os.utime(file, (1_000_000_000, 1_000_000_000))
        with ov.open_model(path, options) as runtime:
            return runtime.run({"images": images})["output0"].copy()

    before = run()
    content = np.frombuffer(weights.read_bytes()[: 21 * 4], np.float32)
    weights.write_bytes((content * 2).tobytes() + weights.read_bytes()[21 * 4 :])
    assert np.abs(run() - before).max() > 0.1


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_cache_is_no_obstacle(model: Path, tmp_path: Path, damage: bytes) -> None:
    options = RuntimeOptions(cache_dir=tmp_path)
    ov.open_model(model, options).close()
    (blob,) = tmp_path.rglob("*.blob")
    blob.chmod(0o600)
    blob.write_bytes(damage)
    images = random_images()
    with ov.open_model(model, options) as runtime:
        got = runtime.run({"images": images})["output0"]
        np.testing.assert_allclose(got, expected(images), rtol=1e-5, atol=1e-5)


def flip_bit(data: bytes) -> bytes:
    """The same with one bit changed, in the middle, where the weights are."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("change", [flip_bit, lambda data: data[:-1], lambda data: data + b"x"])
def test_a_changed_compiled_model_is_compiled_again(
    model: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    options = RuntimeOptions(cache_dir=tmp_path)
    ov.open_model(model, options).close()
    (blob,) = tmp_path.rglob("*.blob")
    written = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(change(written))
    for again in (False, True):
        with ov.open_model(model, options) as runtime:
            assert loaded_from_cache(runtime) is again


def test_files_without_a_record_are_not_used(model: Path, tmp_path: Path) -> None:
    options = RuntimeOptions(cache_dir=tmp_path)
    ov.open_model(model, options).close()
    (record,) = tmp_path.rglob("checksums.json")
    for content in ("", "[]", "{}"):
        record.write_text(content)
        with ov.open_model(model, options) as runtime:
            assert not loaded_from_cache(runtime)


@pytest.mark.parametrize("place", ["root", "model"])
def test_a_cache_that_others_may_write_to_is_not_used(
    model: Path, tmp_path: Path, place: str
) -> None:
    options = RuntimeOptions(cache_dir=tmp_path)
    ov.open_model(model, options).close()
    (folder,) = [tmp_path] if place == "root" else tmp_path.iterdir()
    folder.chmod(0o777)
    with ov.open_model(model, options) as runtime:
        assert not loaded_from_cache(runtime)
        assert "other users may write" in runtime.info.notes[0]


def test_a_cache_that_cannot_be_written_is_a_note(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with ov.open_model(model, RuntimeOptions(cache_dir=tmp_path / "file")) as runtime:
        assert "no model cache" in runtime.info.notes[0]


ARM, X86 = "on ARM.*--for arm64", "VNNI.*--for x86"


@pytest.mark.parametrize("precision", ["", "int8"])
@pytest.mark.parametrize(
    ("forms", "saturates", "metadata", "refused"),
    [
        ((), False, {FORM_KEY: "openvino", GUARD_KEY: GUARD}, ARM),
        (("openvino",), True, {FORM_KEY: "openvino"}, X86),
        (("openvino",), True, {FORM_KEY: "openvino", GUARD_KEY: GUARD}, ""),
        (("openvino-vnni",), False, {FORM_KEY: "openvino-vnni"}, ""),
    ],
)
def test_an_int8_file_that_is_not_right_on_this_cpu_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    forms: tuple[str, ...],
    saturates: bool,
    metadata: dict[str, str],
    refused: str,
) -> None:
    """As an artifact, and as a file alone, which only its own metadata calls int8."""
    path = write_ir(tmp_path / "model.xml", metadata=metadata)
    monkeypatch.setattr(ov, "forms_here", lambda runtime: forms)
    for module in (ov, int8_forms):
        found = DotProduct("", saturates=saturates)
        monkeypatch.setattr(module, "read_dot_product", lambda found=found: found)
    if not refused:
        ov.open_model(path, RuntimeOptions(precision=precision)).close()
        return
    with pytest.raises(DeviceError, match=refused):
        ov.open_model(path, RuntimeOptions(precision=precision))


def test_a_float_file_needs_no_guard(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov, "forms_here", lambda runtime: ())
    ov.open_model(model, RuntimeOptions()).close()


@pytest.mark.parametrize(("forms", "int8"), [((), False), (("openvino",), True)])
def test_doctor_lists_int8_where_it_is_run(
    monkeypatch: pytest.MonkeyPatch, forms: tuple[str, ...], int8: bool
) -> None:
    for module in (ov, openvino_devices):
        monkeypatch.setattr(module, "forms_here", lambda runtime: forms)
    found = ov.probe()
    (cpu,) = (device for device in found.devices if device.name == "cpu")
    assert ("int8" in cpu.precisions) == int8
    assert {"fp32", "fp16"} <= set(cpu.precisions)
    assert found.details.get("int8", "").startswith("not on ARM") == (not int8)
