"""LiteRT, beyond the contract of all runtimes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ghost_deploy.core.errors import BackendError, DeviceError, SpecError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.opener import open_path
from ghost_deploy.runtimes.table import open_file
from tests.support.litert_files import write_tflite
from tests.support.model_specs import make_spec
from tests.support.runtime_cases import BIAS, STATIC, WEIGHT, case_or_skip


@pytest.fixture(autouse=True)
def _installed() -> None:
    case_or_skip("litert")


def write(path: Path, *, shape: tuple[int, ...] = STATIC, **metadata: str) -> Path:
    return write_tflite(path, WEIGHT, BIAS, shape, metadata)


def test_a_file_of_several_sizes(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tflite", shape=(1, 3, -1, -1))
    with pytest.raises(BackendError, match=r"several sizes.*got images \(1, 3, -1, -1\)"):
        open_file("litert", path)


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "fp16"), ("cpu", "bf16"), ("cpu", "int8"), ("npu", "fp32")]
)
def test_other_devices_and_precisions(tmp_path: Path, device: str, precision: str) -> None:
    path = write(tmp_path / "model.tflite")
    options = RuntimeOptions(device=device, precision=precision)
    with pytest.raises(DeviceError, match=f"asked for {device} {precision}: LiteRT computes in"):
        open_file("litert", path, options)


@pytest.mark.parametrize(("asked", "obtained"), [("", ""), ("fp32", "fp32")])
def test_the_precision_that_was_obtained(tmp_path: Path, asked: str, obtained: str) -> None:
    path = write(tmp_path / "model.tflite")
    with open_file("litert", path, RuntimeOptions(precision=asked)) as runtime:
        assert runtime.info.precision == obtained


def test_a_file_without_a_description(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tflite")
    with open_file("litert", path) as runtime:
        assert runtime.metadata() == {}
    with pytest.raises(SpecError, match="carries no model description"):
        open_path(path)


def test_a_described_file_opens_alone(tmp_path: Path) -> None:
    spec = make_spec(STATIC[2:], stride=8, strides=(8,))
    path = write(tmp_path / "model.tflite", **{ModelSpec.Json: spec.to_json().decode()})
    runtime, found = open_path(path)
    with runtime:
        assert (found, runtime.info.runtime) == (spec, "litert")


def test_an_archive_that_would_fill_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tflite", huge="x" * (65 << 20))
    with open_file("litert", path) as runtime:
        assert runtime.metadata() == {}


def test_a_file_that_is_gone_when_its_description_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tflite", text="t")
    with open_file("litert", path) as runtime:
        path.unlink()
        with pytest.raises(BackendError, match="cannot be read"):
            runtime.metadata()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_description_that_does_not_unpack(tmp_path: Path, method: int) -> None:
    path = write(tmp_path / "model.tflite")
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("text", "abc" * 1000)
        at = archive.infolist()[0].header_offset
    data = bytearray(path.read_bytes())
    start = at + 30 + len("text") + (9 if method == zipfile.ZIP_LZMA else 0)
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    with open_file("litert", path) as runtime, pytest.raises(BackendError, match="cannot be read"):
        runtime.metadata()


def test_the_runtime_reads_no_other_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected \.tflite"):
        open_path(tmp_path / "model.onnx", runtime="litert")
