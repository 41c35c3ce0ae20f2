"""The choice of artifact and runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.errors import (
    BundleError,
    DeviceError,
    GhostDeployError,
    MissingExtraError,
    SpecError,
    UsageError,
)
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.opener import open_path, open_planned
from ghost_deploy.runtimes.run_plan import choose
from ghost_deploy.runtimes.table import RuntimeRow
from tests.support.in_memory_bundles import SOURCE, bundle_in_memory
from tests.support.model_specs import make_spec
from tests.support.runtime_cases import case_or_skip, expected, random_images, write_ir, write_onnx

SPEC = make_spec((8, 16), stride=8, strides=(8,))
ALL = ("onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-fp16")


def bundle_of(*ids: str) -> Bundle:
    """A bundle that only exists in memory."""
    artifacts = tuple(
        Artifact(format=f, precision=p, path=f"{f}.{p}", files={f"{f}.{p}": ""}, parent="")
        for f, p in (name.split("-") for name in ids)
    )
    return bundle_in_memory(*artifacts, spec=SPEC)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that count as installed; tests take some away."""
    packages = {"openvino", "onnxruntime", "torch"}
    monkeypatch.setattr(RuntimeRow, "installed", property(lambda row: row.package in packages))
    return packages


CHOICES = [
    # (artifacts, runtime, precision, device) to (row, artifact, precision of the run)
    (ALL, "auto", None, "cpu", ("openvino", "openvino-fp32", "fp32")),
    (ALL, "auto", "fp16", "cpu", ("openvino", "openvino-fp16", "fp16")),
    (ALL, "auto", "bf16", "cpu", ("openvino", "openvino-fp32", "bf16")),
    (ALL, "ort", None, "cpu", ("ort", "onnx-fp32", "fp32")),
    (ALL, "ort", "fp16", "cpu", ("ort", "onnx-fp16", "fp16")),
    (ALL, "openvino", "bf16", "cpu", ("openvino", "openvino-fp32", "bf16")),
    (ALL, "auto", None, "cuda:1", ("ort", "onnx-fp32", "fp32")),
    (ALL, "auto", None, "npu", ("openvino", "openvino-fp32", "fp32")),
    # a named runtime says itself what is wrong with the device
    (ALL, "openvino", None, "cuda", ("openvino", "openvino-fp32", "fp32")),
    # fp32 before a faster file, whatever the order in the bundle
    (
        ("openvino-int8", "openvino-fp16", "onnx-fp32"),
        "auto",
        None,
        "cpu",
        ("ort", "onnx-fp32", "fp32"),
    ),
    (
        ("openvino-int8", "openvino-fp16"),
        "auto",
        None,
        "cpu",
        ("openvino", "openvino-fp16", "fp16"),
    ),
    (("onnx-int8",), "auto", None, "cpu", ("ort", "onnx-int8", "int8")),
]


@pytest.mark.parametrize(("ids", "runtime", "precision", "device", "wanted"), CHOICES)
def test_choices(
    installed: set[str],
    ids: tuple[str, ...],
    runtime: str,
    precision: str | None,
    device: str,
    wanted: tuple[str, str, str],
) -> None:
    found = choose(
        bundle_of(*ids), runtime=runtime, precision=precision, options=RuntimeOptions(device)
    )
    assert (found.row.name, found.artifact.id, found.precision) == wanted


def test_the_precision_may_stand_in_the_options(installed: set[str]) -> None:
    options = RuntimeOptions(precision="fp16")
    assert choose(bundle_of(*ALL), options=options).artifact.id == "openvino-fp16"
    assert choose(bundle_of(*ALL), precision="fp32", options=options).precision == "fp32"


def test_auto_takes_what_is_installed(installed: set[str]) -> None:
    installed.discard("openvino")
    assert choose(bundle_of(*ALL)).row.name == "ort"
    assert choose(bundle_of("onnx-fp16", "openvino-fp32")).artifact.id == "onnx-fp16"


def test_auto_takes_an_engine_before_the_graph_that_it_was_built_from(installed: set[str]) -> None:
    bundle, options = bundle_of("onnx-fp16", "tensorrt-fp16"), RuntimeOptions("cuda")
    assert choose(bundle, options=options).row.name == "ort"
    installed.add("tensorrt")
    assert choose(bundle, options=options).row.name == "trt"


def test_auto_takes_any_device_when_a_fallback_is_allowed(installed: set[str]) -> None:
    options = RuntimeOptions("dla:0", allow_fallback=True)
    assert choose(bundle_of(*ALL), options=options).row.name == "openvino"


REFUSED: list[tuple[tuple[str, ...], str, str | None, str, type[GhostDeployError], str]] = [
    ((), "auto", None, "cpu", BundleError, "got no artifact"),
    (
        ALL,
        "auto",
        "int8",
        "cpu",
        BundleError,
        "run as int8: got onnx-fp32, onnx-fp16.*calibrate",
    ),
    (ALL, "ort", "bf16", "cpu", BundleError, "nothing to run as bf16 ort"),
    (ALL, "eager", None, "cpu", BundleError, "nothing to run as eager"),
    (("onnx-fp32",), "openvino", None, "cpu", BundleError, "got onnx-fp32"),
    (("tensorrt-fp16",), "auto", None, "cpu", DeviceError, "expected cuda, dla, gpu"),
    (ALL, "onnxruntime", None, "cpu", UsageError, "no runtime 'onnxruntime'"),
    (ALL, "trt", None, "cuda", BundleError, "nothing to run as trt"),
    (ALL, "auto", None, "dla:0", DeviceError, "knows 'dla:0'"),
    (("onnx-fp32",), "auto", None, "npu", DeviceError, "expected cpu, cuda, gpu"),
]


@pytest.mark.parametrize(("ids", "runtime", "precision", "device", "error", "message"), REFUSED)
def test_refusals(
    installed: set[str],
    ids: tuple[str, ...],
    runtime: str,
    precision: str | None,
    device: str,
    error: type[GhostDeployError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        choose(
            bundle_of(*ids), runtime=runtime, precision=precision, options=RuntimeOptions(device)
        )


@pytest.mark.parametrize(
    ("runtime", "package"), [("auto", "openvino"), ("openvino", "openvino"), ("ort", "onnxruntime")]
)
def test_an_absent_package(installed: set[str], runtime: str, package: str) -> None:
    installed.clear()
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install") as caught:
        choose(bundle_of(*ALL), runtime=runtime)
    assert caught.value.exit_code == 3


# On disk


def open_artifact(bundle: Bundle, *, runtime: str) -> Runtime:
    options = RuntimeOptions(threads=1)
    return open_planned(bundle, choose(bundle, runtime=runtime, options=options), options)


@pytest.fixture
def on_disk(tmp_path: Path) -> Bundle:
    case_or_skip("ort")
    case_or_skip("openvino")
    with BundleWriter(tmp_path / "bundle") as writer:
        onnx = write_onnx(writer.folder / "model.onnx")
        ir = write_ir(writer.folder / "model.xml")
        common = {"parent": SOURCE.sha256, "tools": {}}
        writer.add(format="onnx", precision="fp32", path=onnx, **common)
        extra = (ir.with_suffix(".bin"),)
        writer.add(format="openvino", precision="fp32", path=ir, extra_files=extra, **common)
        writer.draft(SPEC, SOURCE, "test")
        return writer.finish()


@pytest.mark.parametrize(
    ("runtime", "name"), [("auto", "openvino"), ("openvino", "openvino"), ("ort", "ort")]
)
def test_opening_from_a_bundle(on_disk: Bundle, runtime: str, name: str) -> None:
    images = random_images()
    with open_artifact(on_disk, runtime=runtime) as opened:
        assert (opened.info.runtime, opened.info.precision) == (name, "fp32")
        got = opened.run({"images": images})["output0"]
        np.testing.assert_allclose(got, expected(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("runtime", "file"), [("ort", "model.onnx"), ("openvino", "model.bin")])
def test_a_changed_artifact_is_not_opened(on_disk: Bundle, runtime: str, file: str) -> None:
    path = on_disk.path / file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError, match="was changed"):
        open_artifact(on_disk, runtime=runtime)


@pytest.mark.parametrize("runtime", ["ort", "openvino"])
@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ("b", "a", "c")},
        {"input": InputSpec(size_hw=(8, 16), stride=8, pad_value=0)},
    ],
)
def test_an_edited_description_is_refused(
    tmp_path: Path, runtime: str, change: dict[str, Any]
) -> None:
    """The hashes cover the model files; what `bundle.json` says is inside them as well."""
    case_or_skip(runtime)
    inside = {ModelSpec.Json: SPEC.to_json().decode()}
    with BundleWriter(tmp_path / "bundle") as writer:
        name, write = {"ort": ("m.onnx", write_onnx), "openvino": ("m.xml", write_ir)}[runtime]
        path = write(writer.folder / name, metadata=inside)
        form = {"ort": "onnx", "openvino": "openvino"}[runtime]
        writer.add(format=form, precision="fp32", path=path, parent="0" * 64, tools={})
        writer.draft(SPEC, SOURCE, "test")
        bundle = writer.finish()
    open_artifact(bundle, runtime=runtime).close()
    edited = msgspec.structs.replace(bundle.document, spec=msgspec.structs.replace(SPEC, **change))
    with pytest.raises(SpecError, match="is not that of the bundle"):
        open_artifact(Bundle(bundle.path, edited), runtime=runtime)


# Single files


@pytest.mark.parametrize(
    ("row", "write", "name"), [("ort", write_onnx, "m.onnx"), ("openvino", write_ir, "m.xml")]
)
def test_a_file_explains_itself(tmp_path: Path, row: str, write: object, name: str) -> None:
    case_or_skip(row)
    assert callable(write)
    path = write(tmp_path / name, metadata={ModelSpec.Json: SPEC.to_json().decode()})
    runtime, spec = open_path(str(path))
    with runtime:
        assert (runtime.info.runtime, spec) == (row, SPEC)


@pytest.mark.parametrize(
    ("metadata", "message"), [({}, "no model description"), ({ModelSpec.Json: "{}"}, "not a valid")]
)
def test_a_file_that_does_not(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    case_or_skip("ort")
    with pytest.raises(SpecError, match=message):
        open_path(write_onnx(tmp_path / "m.onnx", metadata=metadata))


@pytest.mark.parametrize(
    ("name", "runtime", "message"),
    [
        ("m.mlmodel", "auto", r"got \.mlmodel, expected \.xml, \.plan, \.engine, \.onnx"),
        ("m", "auto", "no suffix"),
        ("m.onnx", "openvino", r"expected \.xml"),
        ("m.onnx", "nothing", "no runtime 'nothing'"),
    ],
)
def test_no_file_for_that_runtime(tmp_path: Path, name: str, runtime: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_path(tmp_path / name, runtime=runtime)
