"""Behaviour specific to ONNX Runtime."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.errors import BackendError, DeviceError
from ghost_deploy.runtimes import cpu_cores, ort
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file, probe
from tests.support.runtime_cases import random_images, write_onnx

pytest.importorskip("onnxruntime")

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Package:
    """As much of the onnxruntime package as the choice of a provider looks at."""

    def __init__(self, *providers: str) -> None:
        self.providers = list(providers)

    def get_available_providers(self) -> list[str]:
        return self.providers


@pytest.mark.parametrize(
    ("device", "providers", "expected"),
    [
        ("cpu", [CPU], CPU),
        ("cpu", [CUDA, CPU], CPU),
        ("cuda", [CUDA, CPU], CUDA),
        ("cuda:1", [CUDA, CPU], CUDA),
        ("gpu", [CUDA, CPU], CUDA),
    ],
)
def test_the_provider_of_a_device(device: str, providers: list[str], expected: str) -> None:
    options = RuntimeOptions(device=device)
    assert ort._provider(Package(*providers), options) == (expected, ())


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cuda", "", "pip install onnxruntime-gpu"),
        ("cuda:1", "fp16", "pip install onnxruntime-gpu"),
        ("npu", "", "no such device"),
        ("dla:0", "", "no such device"),
        ("cpu", "bf16", "--runtime openvino"),
    ],
)
def test_what_is_not_there(device: str, precision: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        ort._provider(Package(CPU), RuntimeOptions(device, precision))
    allowed = RuntimeOptions(device, precision, allow_fallback=True)
    provider, notes = ort._provider(Package(CPU), allowed)
    assert (provider, len(notes)) == (CPU, 1)


def test_two_failed_requests_are_two_notes() -> None:
    allowed = RuntimeOptions("cuda", "bf16", allow_fallback=True)
    assert len(ort._provider(Package(CPU), allowed)[1]) == 2


def test_cuda_computes_float32_in_float32() -> None:
    (name, settings), behind = ort._provider_list(CUDA, 1)
    assert (name, behind) == (CUDA, CPU)
    assert settings == {"device_id": "1", "use_tf32": "0"}


def test_a_provider_that_the_session_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the package has CUDA and the machine has not."""
    path = write_onnx(tmp_path / "model.onnx")
    monkeypatch.setattr(ort, "_provider", lambda package, options: (CUDA, ()))
    monkeypatch.setattr(ort, "_provider_list", lambda provider, index: [CPU])
    with pytest.raises(DeviceError, match=f"could only open {CPU}.*onnxruntime-gpu"):
        open_file("ort", path, RuntimeOptions("cuda"))
    with open_file("ort", path, RuntimeOptions("cuda", allow_fallback=True)) as runtime:
        assert runtime.info.device == "cpu"
        assert f"could only open {CPU}" in runtime.info.notes[0]


@pytest.mark.parametrize(("hint", "spins"), [("latency", "1"), ("throughput", "0"), ("once", "0")])
def test_only_latency_spins(tmp_path: Path, hint: Any, spins: str) -> None:
    options = RuntimeOptions(hint=hint)
    with ort.open_model(write_onnx(tmp_path / "model.onnx"), options) as runtime:
        settings = runtime._session.get_session_options()
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == spins
        assert runtime.info.threads == cpu_cores.available_cores()


def test_precision_labels(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    with open_file("ort", path) as runtime:
        assert runtime.info.precision == ""
    with open_file("ort", path, RuntimeOptions(precision="fp16")) as runtime:
        assert runtime.info.precision == "fp16"
        assert "f32" in runtime.info.notes[0]
    with open_file("ort", path, RuntimeOptions(precision="bf16", allow_fallback=True)) as runtime:
        assert runtime.info.precision == "fp32"


def test_an_opset_of_the_future(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(write_onnx(tmp_path / "model.onnx"))
    model.opset_import[0].version = 99
    future = tmp_path / "future.onnx"
    onnx.save(model, future)
    with pytest.raises(BackendError, match=r"future\.onnx.*pip install -U onnxruntime"):
        open_file("ort", future)


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_that_cannot_be_read_prints_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    content: bytes,
    device: str,
) -> None:
    """ONNX Runtime's own fallback writes on standard output, where results are."""
    monkeypatch.setattr(ort, "_provider", lambda package, options: (CUDA, ()))
    monkeypatch.setattr(ort, "_provider_list", lambda provider, index: [CPU])
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(BackendError, match=r"ONNX Runtime cannot load .*a\.onnx"):
        open_file("ort", tmp_path / "a.onnx", RuntimeOptions(device))
    assert capfd.readouterr().out == ""


def test_a_provider_that_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the CPU is tried, which is an error unless a fallback is allowed."""
    path = write_onnx(tmp_path / "model.onnx")
    monkeypatch.setattr(ort, "_provider", lambda package, options: (CUDA, ()))
    lists = {CUDA: ["NoSuchProvider"], CPU: [CPU]}
    monkeypatch.setattr(ort, "_provider_list", lambda provider, index: lists[provider])
    with pytest.raises(DeviceError, match=f"could only open {CPU}"):
        open_file("ort", path, RuntimeOptions("cuda"))
    with open_file("ort", path, RuntimeOptions("cuda", allow_fallback=True)) as runtime:
        assert runtime.info.device == "cpu"


def test_a_failing_run_is_ours(tmp_path: Path) -> None:
    with ort.open_model(write_onnx(tmp_path / "model.onnx", dynamic=True), RuntimeOptions()) as run:
        run._names = ["nothing"]
        with pytest.raises(BackendError, match="failed to run") as caught:
            run.run({"images": random_images()})
        assert caught.value.__cause__ is not None


def test_two_packages_over_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    found = probe("ort")
    assert "onnxruntime, onnxruntime-gpu" in found.problem
    assert found.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu")


def test_a_gpu_without_the_cuda_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(ort, "_has_nvidia", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert "pip install onnxruntime-gpu" in probe("ort").details["cuda"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    assert [device.name for device in probe("ort").devices] == ["cpu", "cuda"]
