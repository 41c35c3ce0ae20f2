"""One code path over five versions."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ghost_deploy.runtimes.tensorrt
from ghost_deploy.core.errors import (
    BackendError,
    DeviceError,
    GhostDeployError,
    MissingExtraError,
    UnavailableError,
)
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.compat.engine import IoTensor, numpy_dtype
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog
from tests.support.engine_builds import CACHE, install
from tests.support.fake_tensorrt import Tensor, make_fake, make_plan

MAJOR_10 = ("10.3", "10.13")


def test_an_absent_package_names_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match="JetPack") as caught:
        compat.load()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("version", ["7.1.3", "8.4.3.1", "10.2.0", "10.2.0.19"])
def test_versions_that_are_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, _ = install("8.5.3", monkeypatch)
    monkeypatch.setattr(fake, "__version__", version)
    with pytest.raises(UnavailableError):
        compat.load()


def test_a_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libcublas.so.11: cannot open')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendError, match="libcublas"):
        compat.load()


@pytest.mark.parametrize(
    ("version", "release", "weak", "strong", "calibrators", "monitor"),
    [
        ("8.5.3", (8, 5, 3), True, False, True, False),
        ("8.6.1", (8, 6, 1), True, False, True, False),
        ("10.3", (10, 3, 0), True, True, True, True),
        ("10.13", (10, 13, 3), True, True, True, True),
        ("11.4", (11, 4, 0), False, True, False, True),
    ],
)
def test_what_a_version_can_do(
    version: str,
    release: tuple[int, int, int],
    weak: bool,
    strong: bool,
    calibrators: bool,
    monitor: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(version, monkeypatch)
    api = compat.load()
    assert api.release == release
    assert (api.weak_typing, api.strong_typing) == (weak, strong)
    assert (api.calibrators, api.progress_monitor) == (calibrators, monitor)


@pytest.mark.parametrize(
    ("version", "weak", "strong"),
    [("8.5.3", 1, None), ("8.6.1", 1, None), ("10.3", 0, 2), ("10.13", 0, 2), ("11.4", 0, 1)],
)
def test_creation_flags(
    version: str, weak: int, strong: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, control = install(version, monkeypatch)
    api = compat.load()
    builder = compat.new_builder(api, TensorrtLog().listen(api))
    compat.new_network(api, builder, strongly_typed=False)
    assert control.called("Builder.create_network") == [(weak,)]
    if strong is None:
        with pytest.raises(UnavailableError, match="strongly"):
            compat.new_network(api, builder, strongly_typed=True)
    else:
        compat.new_network(api, builder, strongly_typed=True)
        assert control.called("Builder.create_network")[-1] == (strong,)


def test_no_cuda_is_a_device_error(fake_trt: ModuleType) -> None:
    fake_trt.__fake__.cuda_fails = True
    api, log = compat.load(), TensorrtLog()
    for make in (compat.new_builder, compat.new_runtime):
        with pytest.raises(DeviceError, match="nvidia-smi") as caught:
            make(api, log.listen(api), log.last)
        assert caught.value.got == "CUDA initialization failure with error: 35"


def test_flags_and_settings_that_a_version_lacks(fake_trt: ModuleType) -> None:
    api = compat.load()
    config = compat.new_builder(api, TensorrtLog().listen(api)).create_builder_config()
    asked = {
        "FP16": hasattr(fake_trt.BuilderFlag, "FP16"),
        "VERSION_COMPATIBLE": hasattr(fake_trt.BuilderFlag, "VERSION_COMPATIBLE"),
        "GPU_FALLBACK": True,
    }
    for name, there in asked.items():
        _expect(there, lambda name=name: compat.set_flag(api, config, name))
    newer = fake_trt.__fake__.version != "8.5.3"
    _expect(newer, lambda: compat.set_optimization_level(api, config, 3))
    _expect(newer, lambda: compat.set_hardware_level(api, config, "ampere+"))
    same = fake_trt.__fake__.version in ("10.13", "11.4")
    _expect(same, lambda: compat.set_hardware_level(api, config, "same-compute-capability"))
    _expect(api.calibrators, lambda: compat.calibrator(api, "minmax", CACHE))


def _expect(there: bool, call: object) -> None:
    assert callable(call)
    if there:
        call()
        return
    with pytest.raises(UnavailableError, match="Leave that option out"):
        call()


@pytest.mark.parametrize("version", ["8.5.3", "10.3"])
def test_a_calibrator_hands_over_the_cache_under_this_version(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(version, monkeypatch)
    api = compat.load()
    made = compat.calibrator(api, "minmax", CACHE)
    assert made.read_calibration_cache() == CACHE.to_bytes(api.text, "MinMaxCalibration")
    assert made.get_batch(["images"]) is None
    assert made.get_batch_size() == 1
    assert made.write_calibration_cache(b"") is None


def test_an_engine_and_its_tensors(fake_trt: ModuleType) -> None:
    version = fake_trt.__fake__.version
    low, usual, high = (1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 128, 128)
    tensors = [
        Tensor("images", True, (-1, 3, -1, -1)),
        Tensor("output0", False, (-1, 7, -1)),
        Tensor("count", False, (1,), "INT32"),
    ]
    plan = make_plan(version, tensors, [{"images": (low, usual, high)}])
    api = compat.load()
    runtime = compat.new_runtime(api, TensorrtLog().listen(api))
    engine = compat.deserialize(runtime, plan, what="x.plan")
    assert compat.io_tensors(engine) == (
        IoTensor("images", True, (-1, 3, -1, -1), "float32"),
        IoTensor("output0", False, (-1, 7, -1), "float32"),
        IoTensor("count", False, (1,), "int32"),
    )
    assert compat.profile_shapes(engine, "images") == (low, usual, high)
    assert compat.num_dla_cores(runtime) == 0


def test_a_type_that_numpy_lacks(fake_trt: ModuleType) -> None:
    for name in ("BF16", "FP8"):
        kind = getattr(fake_trt.DataType, name, None)
        if kind is not None:
            with pytest.raises(BackendError, match=name):
                numpy_dtype(kind)


@pytest.mark.parametrize("plan", [b"", b"rubbish", make_plan("8.6.1", [])])
def test_a_plan_that_tensorrt_refuses(plan: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    install("10.3", monkeypatch)
    api, log = compat.load(), TensorrtLog()
    runtime = compat.new_runtime(api, log.listen(api))
    with pytest.raises(BackendError, match=r"x\.plan") as caught:
        compat.deserialize(runtime, plan, what="x.plan", why=log.last)
    assert "ghost-deploy build" in caught.value.fix
    assert caught.value.got == log.last()


def test_host_code_is_allowed_only_where_the_plan_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, control = install("10.3", monkeypatch)
    api = compat.load()
    plan = make_plan("10.3", [], flags=("VERSION_COMPATIBLE",))
    runtime = compat.new_runtime(api, TensorrtLog().listen(api))
    with pytest.raises(BackendError):
        compat.deserialize(runtime, plan, what="x")
    assert compat.deserialize(runtime, plan, what="x", version_compatible=True, dla=1) is not None
    assert control.called("Runtime.engine_host_code_allowed=") == [(True,)]
    assert control.called("Runtime.DLA_core=") == [(1,)]


def test_only_compat_knows_versions() -> None:
    """Attribute probes and comparisons of releases live in `compat` and in the table of faults."""
    probe = re.compile(r"\bhasattr\(|getattr\(.*(module|trt)\b|\.release\b|api\.text\s*[<>=]")
    room = Path(ghost_deploy.runtimes.tensorrt.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in room.glob("*.py")
        for line in path.read_text().splitlines()
        if probe.search(line) and "(api.release" not in line
    ]
    assert found == []


def test_every_lack_has_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    install("8.5.3", monkeypatch)
    api = compat.load()
    with pytest.raises(GhostDeployError) as caught:
        compat.set_flag(api, api.module.IBuilderConfig(), "BF16")
    assert "8.5.3" in str(caught.value)


def test_the_fake_is_not_shared() -> None:
    assert make_fake("10.3").BuilderFlag is not make_fake("10.3").BuilderFlag
