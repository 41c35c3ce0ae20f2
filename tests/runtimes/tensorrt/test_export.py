"""`export --trt`: engines of graphs that were just made, on a workstation with a GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.api import common
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle, Source
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.runtimes.table import RUNTIMES
from ghost_deploy.runtimes.tensorrt import cudart as _cudart
from tests.support import onnxruntime_as_tensorrt as stand_in
from tests.support.anchor_detectors import anchor_net, anchor_spec
from tests.support.assets import BCCD, GHOST, needs_assets
from tests.support.engine_builds import ORIN, install
from tests.support.fake_tensorrt import Tensor
from tests.support.stored_evidence import evidence_of
from tests.support.tiny_detectors import FakeLoaded, tiny_loaded, tiny_spec

OPENING = importlib.import_module("ghost_deploy.api.open_checkpoint")


@pytest.fixture
def workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with TensorRT and a GPU, and a small checkpoint."""
    _, control = install("10.13", monkeypatch)
    spec = tiny_spec()
    anchors = spec.head.anchors(spec.input.size_hw)
    control.tensors = [
        Tensor("images", True, spec.input.graph_shape()),
        Tensor("output0", False, (1, 4 + spec.num_classes, anchors)),
    ]
    monkeypatch.setattr(_cudart, "describe_gpu", lambda index=0: ORIN)
    monkeypatch.setattr(stand_in, "spoil", 0.0)
    row = dataclasses.replace(RUNTIMES["trt"], module="tests.support.onnxruntime_as_tensorrt")
    monkeypatch.setitem(RUNTIMES, "trt", row)
    monkeypatch.setattr(OPENING, "load_checkpoint", lambda *_, **__: tiny_loaded())


def test_without_tensorrt_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorrt" else real(name)
    )
    with pytest.raises(MissingExtraError, match="ghost-deploy build BUNDLE --trt"):
        gd.export("absent.pt", tmp_path / "out", ("tensorrt",))
    assert main(["export", "absent.pt", "-o", str(tmp_path / "out"), "--trt"]) == 3
    assert "carry the bundle to the device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_engine_beside_its_graph(workstation: None, tmp_path: Path) -> None:
    bundle = gd.export("tiny.pt", tmp_path / "out", ("tensorrt",), ("fp16",))
    assert [artifact.id for artifact in bundle.artifacts] == ["onnx-fp16", "tensorrt-fp16"]
    onnx = bundle.artifact("onnx", "fp16")
    assert bundle.artifact("tensorrt", "fp16").parent == onnx.files[onnx.path]
    report = ParityReport.from_document(evidence_of(bundle)["parity"])
    assert {row.artifact for row in report.rows} == {"onnx-fp16", "tensorrt-fp16"}
    assert {path.name for path in tmp_path.iterdir()} > {"out"}, "the timing cache lies beside"
    assert all(path.name.startswith("out") for path in tmp_path.iterdir())


def test_an_engine_that_fails_its_check(
    workstation: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "spoil", 0.3)
    with pytest.raises(GateError, match="tensorrt-fp32 on trt"):
        gd.export("tiny.pt", tmp_path / "out", ("tensorrt",), ("fp32",))
    assert (tmp_path / "out" / "model.fp32.plan").is_file()


@pytest.mark.parametrize("spoil", [0.0, 0.3])
def test_an_engine_of_a_detector_with_anchors(
    workstation: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: float
) -> None:
    net = anchor_net()
    spec = anchor_spec(net)
    loaded = FakeLoaded(net, spec, Source(file="v5.pt", sha256=spec.source_sha256))
    monkeypatch.setattr(OPENING, "load_checkpoint", lambda *_, **__: loaded)
    _, control = install("10.13", monkeypatch)
    control.tensors = [
        Tensor("images", True, spec.input.graph_shape()),
        Tensor("output0", False, spec.output_shape()),
    ]
    monkeypatch.setattr(stand_in, "spoil", spoil)
    out = tmp_path / "out"
    if spoil:
        with pytest.raises(GateError, match="tensorrt-fp32 on trt"):
            gd.export("v5.pt", out, ("tensorrt",), ("fp32",))
        return
    bundle = gd.export("v5.pt", out, ("onnx", "tensorrt"), ("fp32",))
    report = ParityReport.from_document(evidence_of(bundle)["parity"])
    assert {row.artifact for row in report.rows} == {"onnx-fp32", "tensorrt-fp32"}
    assert report.passed


@needs_assets
@pytest.mark.slow
def test_an_int8_engine_of_a_graph_that_was_just_calibrated(
    workstation: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPENING, "load_checkpoint", common.load_checkpoint)
    _, control = install("10.13", monkeypatch)
    control.tensors = [
        Tensor("images", True, (1, 3, 96, 96)),
        Tensor("output0", False, (1, 7, 189)),
    ]
    control.layers[1] = dataclasses.replace(control.layers[1], type="QUANTIZE")
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((BCCD / "images" / "train").iterdir())[:6]:
        (images / path.name).symlink_to(path)
    calib = gd.Calibration(source=images, allow_small=True, max_drop=None, speed=False)
    with contextlib.suppress(GateError):  # six images of 96 pixels may lose too much
        gd.export(GHOST, tmp_path / "out", ("tensorrt",), ("int8",), 96, calib=calib)
    bundle = Bundle.read(tmp_path / "out", verify=True)
    engine = bundle.artifact("tensorrt", "int8")
    graph = bundle.artifact("onnx", "int8", "tensorrt")
    assert engine.parent == graph.files[graph.path]
    assert engine.options["route"] == "int8-qdq-weak"
