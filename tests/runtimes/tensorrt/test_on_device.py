"""A bundle carried to a device, built there and checked: all but TensorRT and the GPU is real."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import onnx
import pytest

import ghost_deploy as gd
from ghost_deploy.checkpoints.loading import LoadedCheckpoint
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle, BundleWriter, Source, sha256_of
from ghost_deploy.core.errors import (
    BackendError,
    BundleError,
    DeviceError,
    ExportError,
    InputError,
    MissingExtraError,
    UnavailableError,
    UsageError,
)
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.parity.prove import run_parity
from ghost_deploy.judge.parity.store_reference import store_reference
from ghost_deploy.runtimes.table import RUNTIMES
from ghost_deploy.runtimes.tensorrt import cudart as _cudart
from ghost_deploy.runtimes.tensorrt.plan_file import read_plan
from tests.support import onnxruntime_as_tensorrt as stand_in
from tests.support.engine_builds import CACHE_BYTES, ORIN, install
from tests.support.exports import export_artifacts, shared_folder
from tests.support.fake_tensorrt import VERSIONS, Control, Tensor
from tests.support.stored_evidence import evidence_of
from tests.support.tiny_detectors import tiny_loaded

Make = Callable[[str], tuple[Bundle, Control]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as a workstation exports it: ONNX fp32 and fp16, proved, with a reference."""
    return shared_folder("proved-tiny", tmp_path_factory, export_proved)


def export_proved(folder: Path) -> None:
    loaded = cast("LoadedCheckpoint", tiny_loaded())
    with BundleWriter(folder) as writer:
        spec, _ = export_artifacts(loaded, writer, formats=["onnx"])
        draft = writer.draft(spec, loaded.source, "test")
        report = run_parity(loaded, draft)
        coarse = any(row.coarse for row in report.rows)
        store_reference(loaded, draft.with_evidence(report), None, exact=coarse).save()
        writer.finish()


@pytest.fixture
def device(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The bundle on a device with the fake of a version."""
    shutil.copytree(exported, tmp_path / "best")
    monkeypatch.setattr(_cudart, "describe_gpu", lambda index=0: ORIN)
    row = dataclasses.replace(RUNTIMES["trt"], module="tests.support.onnxruntime_as_tensorrt")
    monkeypatch.setitem(RUNTIMES, "trt", row)
    monkeypatch.setattr(stand_in, "spoil", 0.0)
    monkeypatch.setattr(stand_in, "opened", [])

    def make(version: str) -> tuple[Bundle, Control]:
        _, control = install(version, monkeypatch)
        bundle = Bundle.read(tmp_path / "best")
        spec = bundle.spec
        anchors = spec.head.anchors(spec.input.size_hw)
        control.tensors = [
            Tensor("images", True, spec.input.graph_shape()),
            Tensor("output0", False, (1, 4 + spec.num_classes, anchors)),
        ]
        return bundle, control

    return make


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_build_and_self_check(precision: str, version: str, device: Make) -> None:
    bundle, control = device(version)
    built = gd.build(bundle, precision)
    artifact = built.artifact("tensorrt", precision)
    strong = version == "11.4"
    source = bundle.artifact("onnx", "fp16" if strong and precision == "fp16" else "fp32")
    assert artifact.parent == source.files[source.path]
    assert (
        artifact.options["route"]
        == {
            "fp32": "fp32",
            "fp16": "fp16-strong" if strong else "fp16-weak",
        }[precision]
    )
    assert "compute capability 8.7 (Orin)" in artifact.options["machine"]
    assert set(artifact.files) == {
        f"model.{precision}.plan",
        f"model.{precision}.plan.json",
        f"model.{precision}.plan.layers.json",
    }
    assert control.called("OnnxParser.parse") == [(source.files[source.path], None)]
    assert Bundle.read(built.path, verify=True).document == built.document
    plan = read_plan(built.path / artifact.path)
    assert plan.sidecar is not None
    assert plan.sidecar.spec == bundle.spec
    assert plan.data.startswith(b"ftrt")
    report = ParityReport.from_document(evidence_of(built)["parity"])
    row = next(row for row in report.rows if row.artifact == artifact.id)
    assert (row.status, row.runtime, row.device) == ("passed", "trt", "cuda")
    assert row.sha256 == artifact.files[artifact.path]
    assert len(report.rows) == 3, "the rows of the workstation are still there"
    assert {row.artifact for row in report.rows} >= {"onnx-fp32", "onnx-fp16"}


def test_a_jetson_with_a_full_page_cache(
    device: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = device("10.3")
    full = dataclasses.replace(ORIN, free_bytes=50 << 20)
    monkeypatch.setattr(_cudart, "describe_gpu", lambda index=0: full)
    assert main(["build", str(bundle.path), "--trt"]) == 0
    assert "50 of 8192 MiB free" in capsys.readouterr().out


def test_building_again_replaces_and_uses_the_timing_cache(device: Make) -> None:
    bundle, _ = device("10.3")
    first = gd.build(bundle)
    second = gd.build(first.path, "fp16", opt_level=5, overwrite=True)
    assert [a.id for a in second.artifacts] == ["onnx-fp32", "onnx-fp16", "tensorrt-fp16"]
    record = evidence_of(second)["build"]["engines"]["tensorrt-fp16"]
    assert record["timing_cache"] == "reused"
    beside = sorted(path.name for path in second.path.parent.iterdir())
    assert [name for name in beside if not name.endswith(".timing")] == ["best"]
    assert len(beside) == 2
    both = gd.build(second, "fp32")
    assert set(evidence_of(both)["build"]["engines"]) == {"tensorrt-fp16", "tensorrt-fp32"}
    assert (both.path / "reference.npz").is_file()


def test_an_engine_that_computes_something_else(
    device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _ = device("10.3")
    monkeypatch.setattr(stand_in, "spoil", 0.2)
    with pytest.raises(GateError, match="self-check"):
        gd.build(bundle)
    kept = Bundle.read(bundle.path, verify=True)
    assert not evidence_of(kept)["parity"]["passed"]
    with pytest.raises(GateError, match="comparison with the checkpoint"):
        gd.load(kept, "trt", "fp16", device="cuda")
    monkeypatch.setattr(stand_in, "spoil", 0.0)
    assert evidence_of(gd.build(kept, overwrite=True))["parity"]["passed"]


def test_without_a_self_check(device: Make) -> None:
    bundle, _ = device("10.3")
    built = gd.build(bundle, self_check=False)
    assert stand_in.opened == []
    assert len(evidence_of(built)["parity"]["rows"]) == 2


def test_a_bundle_without_a_reference(device: Make) -> None:
    bundle, _ = device("10.3")
    del bundle.document.evidence["reference"]
    bundle.save()
    built = gd.build(bundle.path)
    assert built.artifact("tensorrt", "fp16")
    assert len(evidence_of(built)["parity"]["rows"]) == 2


def test_a_changed_reference(device: Make) -> None:
    bundle, _ = device("10.3")
    path = bundle.path / "reference.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"reference\.npz"):
        gd.build(bundle)
    assert [a.id for a in Bundle.read(bundle.path).artifacts] == ["onnx-fp32", "onnx-fp16"]


def test_a_dla_plan_is_checked_on_its_core(device: Make) -> None:
    bundle, control = device("10.3")
    control.dla_cores = 2
    built = gd.build(bundle, dla=1)
    assert stand_in.opened[-1].device == "dla:1"
    plan = read_plan(built.path / "model.fp16.plan")
    assert plan.sidecar is not None
    assert plan.sidecar.fingerprint.dla == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"precision": "fp8"}, UsageError, "precision"),
        ({"opt_level": 6}, UsageError, "0 to 5"),
        ({"device": "cpu"}, UsageError, "cuda:N"),
        ({"hardware": "pascal"}, UsageError, "hardware"),
        ({"precision": "fp32", "dla": 0}, UsageError, "DLA"),
        ({"calibrator": "kl"}, UsageError, "calibrator"),
        ({"dla": 0, "calibrator": "minmax"}, UsageError, "entropy"),
        ({"int8_cache": "x"}, UsageError, "calibration cache"),
        ({"precision": "int8"}, UsageError, "calibrate"),
        ({"precision": "int8", "int8_cache": "absent"}, InputError, "calibration cache"),
        ({"workspace_mib": 99_999}, DeviceError, "99999 MiB"),
        ({"dla": 0}, DeviceError, "no DLA"),
    ],
    ids=str,
)
def test_wrong_options_change_nothing(
    options: dict[str, Any], error: type[Exception], words: str, device: Make
) -> None:
    bundle, _ = device("10.3")
    before = {path.name: sha256_of(path) for path in bundle.path.iterdir()}
    with pytest.raises(error, match=words):
        gd.build(bundle, **options)
    assert {path.name: sha256_of(path) for path in bundle.path.iterdir()} == before
    assert list(bundle.path.parent.iterdir()) == [bundle.path]


def test_a_build_that_fails_changes_nothing(device: Make) -> None:
    bundle, control = device("10.3")
    control.build_fails, control.build_log = True, [("ERROR", "out of memory")]
    before = {path.name: sha256_of(path) for path in bundle.path.iterdir()}
    with pytest.raises(ExportError, match="--workspace"):
        gd.build(bundle)
    assert {path.name: sha256_of(path) for path in bundle.path.iterdir()} == before
    assert list(bundle.path.parent.iterdir()) == [bundle.path]


class TestInt8:
    def quantized(self, bundle: Bundle, form: str) -> Bundle:
        """The bundle with an artifact that claims to be INT8; the fake asks no more."""
        with BundleWriter(bundle.path, overwrite=True) as writer:
            writer.adopt(bundle)
            path = writer.folder / f"model.int8.{form}.onnx"
            model = onnx.load(bundle.path / "model.fp32.onnx")
            model.doc_string = form  # another file of the same function
            onnx.save(model, path)
            writer.add(
                format="onnx", precision="int8", path=path, parent="0" * 64, tools={}, form=form
            )
            document = bundle.document
            writer.draft(document.spec, document.source, document.created_with, bundle.evidence)
            return writer.finish()

    @pytest.mark.parametrize(
        ("version", "form", "route"),
        [
            ("8.5.3", "tensorrt", "int8-qdq-weak"),
            ("10.3", "tensorrt", "int8-qdq-weak"),
            ("11.4", "tensorrt-fp16", "int8-qdq-strong"),
        ],
    )
    def test_from_nodes(
        self, version: str, form: str, route: str, device: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle, control = device(version)
        control.layers[1] = dataclasses.replace(control.layers[1], type="QUANTIZE")
        built = gd.build(self.quantized(bundle, form), "int8", self_check=False)
        assert built.artifact("tensorrt", "int8").options["route"] == route

    @pytest.mark.parametrize("version", ["8.5.3", "8.6.1", "10.3", "10.13"])
    @pytest.mark.parametrize("named", [False, True])
    def test_from_a_cache(self, named: bool, version: str, device: Make) -> None:
        bundle, control = device(version)
        name = "other" if named else "model.int8.trtcache"
        (bundle.path / name).write_bytes(CACHE_BYTES)
        cache = bundle.path / name if named else None
        built = gd.build(bundle, "int8", int8_cache=cache, self_check=False)
        assert built.artifact("tensorrt", "int8").options["route"] == "int8-calibrator"
        assert len(control.called("Builder.calibrated_with")) == 1

    def test_on_a_dla_from_the_cache_beside_the_nodes(self, device: Make) -> None:
        bundle, control = device("10.3")
        control.dla_cores = 1
        bundle = self.quantized(bundle, "tensorrt")
        with pytest.raises(UsageError, match="Q/DQ"):
            gd.build(bundle, "int8", dla=0, self_check=False)
        (bundle.path / "model.int8.trtcache").write_bytes(CACHE_BYTES)
        built = gd.build(bundle, "int8", dla=0, self_check=False)
        assert built.artifact("tensorrt", "int8").options["route"] == "int8-calibrator"

    @pytest.fixture
    def placements(self, device: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Control]:
        """A bundle with the three placements, of which the last is the fastest."""
        bundle, control = device("10.3")
        control.layers[1] = dataclasses.replace(control.layers[1], type="QUANTIZE")
        for form in ("tensorrt", "tensorrt-depthwise", "tensorrt-primary"):
            bundle = self.quantized(bundle, form)
        names = ("tensorrt", "tensorrt-depthwise", "tensorrt-primary")
        times = {f"model.int8.{name}.onnx": ms for name, ms in zip(names, (3, 2, 1), strict=True)}
        monkeypatch.setattr(stand_in, "graphs", bundle.path)
        monkeypatch.setattr(stand_in, "times", times)
        return bundle, control

    def test_the_fastest_placement_is_kept(
        self, placements: tuple[Bundle, Control], capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle, control = placements
        words = ["--trt", "--int8", "--try-placements"]
        assert main(["build", str(bundle.path), *words]) == 0
        assert len(control.called("Builder.build_serialized_network")) == 3
        built = Bundle.read(bundle.path, verify=True)
        assert [a.id for a in built.artifacts if a.format == "tensorrt"] == ["tensorrt-int8"]
        records = built.evidence.build
        assert records is not None
        record = records.engines["tensorrt-int8"]
        assert record.built_from == "onnx-int8-tensorrt-primary"
        assert record.notes[0].startswith(
            "placements timed on the device: tensorrt-primary 1.000 ms, tensorrt-depthwise "
            "2.000 ms, tensorrt 3.000 ms; building 3 engines took"
        )
        assert "times as long as one" in capsys.readouterr().out

    def test_the_fastest_that_passes(
        self, placements: tuple[Bundle, Control], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle, _ = placements
        real = stand_in.StandIn._run

        def run(self: Any, feeds: Any) -> Any:
            if "primary" in self._graph:
                raise BackendError("TensorRT failed to run the model", fix="Build it again")
            return real(self, feeds)

        monkeypatch.setattr(stand_in.StandIn, "_run", run)
        built = gd.build(bundle, "int8", try_placements=True)
        records = built.evidence.build
        assert records is not None
        assert records.engines["tensorrt-int8"].built_from == "onnx-int8-tensorrt-depthwise"

    def test_without_being_asked_the_safe_one_is_built(
        self, placements: tuple[Bundle, Control]
    ) -> None:
        bundle, control = placements
        built = gd.build(bundle, "int8")
        assert len(control.called("Builder.build_serialized_network")) == 1
        safe = bundle.artifact("onnx", "int8", "tensorrt")
        assert built.artifact("tensorrt", "int8").parent == safe.files[safe.path]

    @pytest.mark.parametrize("options", [{"precision": "fp16"}, {"precision": "int8"}], ids=str)
    def test_nothing_to_try(self, options: dict[str, Any], device: Make) -> None:
        bundle, _ = device("10.3")
        bundle = self.quantized(bundle, "tensorrt")
        with pytest.raises(UsageError, match="no placements to try"):
            gd.build(bundle, try_placements=True, **options)

    def test_a_known_bad_release(self, device: Make) -> None:
        bundle, _ = device("10.3")
        (bundle.path / "model.int8.trtcache").write_bytes(CACHE_BYTES)
        spec = bundle.spec
        head = type(spec.head)(decoder="one2one", branch="one2one", strides=spec.head.strides)
        document = msgspec.structs.replace(
            bundle.document, spec=msgspec.structs.replace(spec, head=head)
        )
        with pytest.raises(UnavailableError, match="checkLinks"):
            gd.build(Bundle(bundle.path, document), "int8")


class TestCommand:
    def test_nothing_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["build", "absent"]) == 2
        assert "--trt" in capsys.readouterr().err

    def test_no_tensorrt(
        self, device: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle, _ = device("10.3")
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        assert main(["build", str(bundle.path), "--trt"]) == 3
        assert "JetPack" in capsys.readouterr().err
        with pytest.raises(MissingExtraError):
            gd.build(bundle)

    def test_a_table_and_the_next_step(
        self, device: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle, control = device("10.3")
        control.dla_cores, control.no_dla = 1, {"/Concat"}
        control.build_log = [("INFO", "hello"), ("VERBOSE", "detail"), ("WARNING", "careful")]
        words = ["--trt", "--dla", "0", "--verbose"]
        assert main(["build", str(bundle.path), *words]) == 0
        notes = capsys.readouterr()
        assert "tensorrt-fp16" in notes.out
        assert "fp16-weak" in notes.out
        assert "passed" in notes.out
        assert "ghost-deploy bench" in notes.out
        assert "on the GPU: /Concat (CONCATENATION)" in notes.out
        assert "tensorrt info: hello" in notes.err
        assert "detail" not in notes.err
        assert "tensorrt-fp16: careful" in notes.out

    def test_a_failed_check_is_exit_code_1(
        self, device: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle, _ = device("10.3")
        monkeypatch.setattr(stand_in, "spoil", 0.3)
        assert main(["build", str(bundle.path), "--trt", "--fp32", "--fp16"]) == 1
        notes = capsys.readouterr()
        assert "failed" in notes.out
        assert "next: Build another precision" in notes.err
        assert len(Bundle.read(bundle.path).artifacts) == 4


def test_a_device_needs_neither_torch_nor_onnx() -> None:
    """The room and the command load nothing that a device may lack, TensorRT itself included."""
    code = """
import sys
for name in ("torch", "onnx", "onnxruntime", "openvino", "tensorrt"):
    sys.modules[name] = None
import pkgutil
import ghost_deploy.runtimes.tensorrt
import ghost_deploy.api
import ghost_deploy.cli.build
import ghost_deploy.judge.parity.self_check
room = ghost_deploy.runtimes.tensorrt
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    __import__(module.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_source_survives(exported: Path) -> None:
    document = json.loads((exported / "bundle.json").read_text())
    assert document["evidence"]["reference"]["pictures"] >= 1
    assert Source(**document["source"]).file == "tiny.pt"
